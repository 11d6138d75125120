import type { Batch } from '../backend.js'
import { roundUp, rowBytes, type View } from '../plan/steps.js'
import { arenaBytes, sequenceWords, viewOffset } from '../program.js'
import type { MappedCache } from './cache-memory.node.js'
import { CallList } from './call-list.node.js'
import type { CompiledPlan, TeamCalls } from './compiled-plan.node.js'
import { called, type Mapped, mapMemory, viewMemory } from './memory.node.js'
import { type Region, type RunRows, writeWord } from './parameter-blocks.js'
import type { SequenceBlock } from './sequence-blocks.js'
import { TeamLists } from './team-lists.node.js'

/** Kernels may read so far beyond what a run brings along. */
const overrun = 64

/** Mapped memory that grows when more is needed. */
class GrowingMemory {
  #mapped: Mapped | undefined
  bytes: Uint8Array = new Uint8Array(0)

  constructor(readonly guards: boolean) {}

  get address(): number {
    return Number(this.#mapped!.address)
  }

  /** Content is lost where it grows. With guards it ends where the bytes end and is all NaN: what is read before it is written shows. */
  reserve(bytes: number): void {
    const { guards } = this
    if (guards ? bytes !== this.bytes.length : bytes > this.bytes.length) {
      this.release()
      this.#mapped = mapMemory(bytes, { guards })
      this.bytes = viewMemory(this.#mapped.address, guards ? bytes : this.#mapped.bytes)
    }
    if (guards) this.bytes.fill(255)
  }

  release(): void {
    this.bytes = new Uint8Array(0)
    this.#mapped?.release()
    this.#mapped = undefined
  }
}

/** All that a run of a plan on a block of sequences writes: what the run brings along, the arena, and lists of calls. */
export class RunMemory {
  readonly #inputs: GrowingMemory
  readonly #arena: GrowingMemory
  readonly #alone: CallList
  readonly #teams = new Map<TeamCalls, TeamLists>()
  #team: TeamLists | undefined
  #rows: RunRows = { token: 0, sequence: 0, remaining: 0, kept: 0 }
  #regions = new Map<Region, number>()
  /** Of each thread, where threads have memory of their own. */
  #ownBytes = { ownArena: 0, ownScratch: 0 }

  /** @throws TinsmithError `out-of-memory` */
  constructor(
    readonly compiled: CompiledPlan,
    readonly options: { readonly guards: boolean; readonly patience: number },
  ) {
    const { guards } = options
    this.#inputs = new GrowingMemory(guards)
    this.#arena = new GrowingMemory(guards)
    this.#alone = new CallList(compiled.alone, compiled.codeOf)
  }

  /** Ends the run before its next kernel. */
  cancel(): void {
    this.#alone.cancel()
    this.#team?.cancel()
  }

  /**
   * Brings in what the run needs for these sequences.
   *
   * @param threads how many share the work
   * @throws TinsmithError `out-of-memory`
   */
  prepare(batch: Batch, { first, end }: SequenceBlock, threads = 1): void {
    const { plan } = this.compiled
    this.#layOut(rowsOf(this.compiled, batch, { first, end }))
    this.#writeSequences(batch, first)
    for (const name of plan.numbers)
      this.#numbers(`number:${name}`).set(batch.numbers[name].subarray(batch.starts[first], batch.starts[end]))
    for (const [name, elements] of plan.images) {
      const images = new Float32Array(this.#inputs.bytes.buffer, this.#place(`image:${name}`), elements * (end - first))
      images.set(batch.images[name].subarray(first * elements, end * elements))
    }
    const run = [...Object.values(this.#rows), this.#arena.address, this.#inputs.address].join(' ')
    const addressOf = (region: Region, part = 0) => {
      if (region === 'arena') return this.#arena.address
      const own = region === 'ownArena' || region === 'ownScratch' ? part * this.#ownBytes[region] : 0
      return this.#inputs.address + this.#regions.get(region)! + own
    }
    this.#alone.prepare(run, this.#rows, addressOf)
    this.#team = threads > 1 ? this.#listsOf(this.compiled.teamCalls(this.#rows, threads)) : undefined
    this.#team?.prepare(run, this.#rows, addressOf)
  }

  /**
   * Runs the calls on threads of the pool: on one, or on those of the team, of which the first does all where the others do not come in time.
   *
   * @returns when the results are there; `ended` when nothing uses the memory any more
   */
  call(): { readonly done: Promise<void>; readonly ended: Promise<unknown> } {
    if (this.#team) return this.#team.call()
    const done = called(this.compiled.driver, this.#alone.address)
    return { done, ended: done }
  }

  #listsOf(calls: TeamCalls): TeamLists {
    const lists = this.#teams.get(calls) ?? new TeamLists(this.compiled, calls, this.#alone.address, this.options.patience)
    this.#teams.set(calls, lists)
    return lists
  }

  /** Copies rows of a view that the run has filled to where they belong in an array of all rows of the batch. */
  readOutput(view: View, batch: Batch, { first }: SequenceBlock, target: Float32Array): void {
    const { buffer, columns } = view
    const perToken = buffer.per === 'token' && !keepsLast(this.compiled, batch)
    const count = perToken ? this.#rows.token : this.#rows.sequence
    const to = (perToken ? batch.starts[first] : first) * columns
    const stride = rowBytes(buffer) / 4
    const from = new Float32Array(
      this.#arena.bytes.buffer,
      this.#arena.bytes.byteOffset + viewOffset(this.compiled.plan.memory, view, this.#rows),
    )
    if (stride === columns) target.set(from.subarray(0, count * columns), to)
    else for (let row = 0; row < count; row++) target.set(from.subarray(row * stride, row * stride + columns), to + row * columns)
  }

  release(): void {
    this.#alone.release()
    for (const lists of this.#teams.values()) lists.release()
    this.#inputs.release()
    this.#arena.release()
  }

  /** Gives every region its place. */
  #layOut(rows: RunRows): void {
    if (isEqual(rows, this.#rows)) return
    const { plan, scratch, threads } = this.compiled
    const { token, sequence } = rows
    const bytes = { arena: arenaBytes(plan.memory, rows), scratch: scratch.bytes(rows) }
    let end = 0
    const place = (region: Region, bytes: number) => {
      this.#regions.set(region, end)
      end += roundUp(bytes + overrun, 64)
    }
    place('sequences', 8 * sequenceWords.length * sequence)
    place('index', 4 * token)
    for (const name of plan.numbers) place(`number:${name}`, 4 * token)
    for (const [name, elements] of plan.images) place(`image:${name}`, 4 * elements * sequence)
    place('scratch', bytes.scratch)
    const owners = token < threads ? threads : 0
    this.#ownBytes = { ownArena: roundUp(bytes.arena + overrun, 64), ownScratch: roundUp(bytes.scratch + overrun, 64) }
    for (const region of ['ownArena', 'ownScratch'] as const) place(region, owners * this.#ownBytes[region])
    this.#arena.reserve(bytes.arena)
    this.#inputs.reserve(end)
    this.#rows = rows
  }

  #place(region: Region): number {
    return this.#inputs.bytes.byteOffset + this.#regions.get(region)!
  }

  #numbers(region: Region): Int32Array {
    return new Int32Array(this.#inputs.bytes.buffer, this.#place(region), this.#rows.token)
  }

  #writeSequences({ starts, pasts, caches }: Batch, first: number): void {
    const { sequence } = this.#rows
    const words = new Uint32Array(this.#inputs.bytes.buffer, this.#place('sequences'), 2 * sequenceWords.length * sequence)
    const places = this.#numbers('index')
    for (let i = 0; i < sequence; i++) {
      const row = starts[first + i] - starts[first]
      const count = starts[first + i + 1] - starts[first + i]
      const past = pasts[first + i]
      const cache = caches?.[first + i] as MappedCache | undefined
      const entry = { first: row, rows: count, past, cache: cache?.address ?? 0, capacity: cache?.capacity ?? 0 }
      for (const [word, name] of sequenceWords.entries()) writeWord(words, sequenceWords.length * i + word, entry[name])
      for (let j = 0; j < count; j++) places[row + j] = past + j
    }
  }
}

/** How many rows a run of these sequences has. */
function rowsOf(compiled: CompiledPlan, batch: Batch, { first, end }: SequenceBlock): RunRows {
  const [token, sequence] = [batch.starts[end] - batch.starts[first], end - first]
  return { token, sequence, remaining: keepsLast(compiled, batch) ? sequence : token, kept: batch.keepLast ? sequence : 0 }
}

function isEqual(a: RunRows, b: RunRows): boolean {
  return a.token === b.token && a.sequence === b.sequence && a.remaining === b.remaining && a.kept === b.kept
}

/** Whether outputs of tokens have rows of last tokens only. */
export function keepsLast({ keeps }: CompiledPlan, { keepLast = false }: Batch): boolean {
  return keepLast && keeps
}
