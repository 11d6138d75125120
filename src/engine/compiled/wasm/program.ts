import { badInput, throwIfAborted, usage } from '../../../base/errors.js'
import { onAbort } from '../../ort/abort.js'
import type { OperatorTime } from '../../session.js'
import type { Batch, Program } from '../backend.js'
import type { Plan } from '../plan/plan.js'
import { type RowKind, roundUp, rowBytes, type View } from '../plan/steps.js'
import { arenaBytes, viewOffset } from '../program.js'
import { WasmCache } from './cache.js'
import { type Layout, type Places, sequenceBytes, slotHeader } from './layout.js'
import type { Lists } from './lists.js'
import type { ProgramMemory } from './memory.js'
import type { Request, Span } from './protocol.js'
import { startWords } from './team.js'
import { crew, type Outcome, Turnstile } from './workers.js'

export interface WasmProgramParts {
  readonly id: number
  readonly plan: Plan
  readonly memory: ProgramMemory
  readonly module: WebAssembly.Module
  readonly lists: Lists
  /** The function in which threads of a team start. */
  readonly start: number | undefined
  readonly weightBytes: number
  readonly kernels: readonly string[]
  readonly threads: number
  /** The step of each kernel, where times are taken. */
  readonly timed: readonly number[] | undefined
}

/** Memory for one block of sequences at a time. */
interface Slot {
  /** Start of all; 0 before the first run. */
  start: number
  bytes: number
  /** The run that its lists were made for. */
  filled?: string
  /** Threads that came too late for a run, and still look into it. */
  late?: Promise<unknown>
}

/** Some sequences of a batch. */
interface Block {
  readonly first: number
  readonly end: number
}

/** Tokens of a block, at most where there are several sequences; and below which a block is not divided. */
const [mostTokens, fewestTokens] = [256, 16]

export class WasmProgram implements Program {
  readonly weightBytes: number
  readonly kernels: readonly string[]
  readonly #parts: WasmProgramParts
  readonly #slots: Turnstile<Slot>
  readonly #load: Extract<Request, { kind: 'load' }>
  readonly #running = new Set<Promise<unknown>>()
  #disposed: Promise<void> | undefined
  readonly #milliseconds: Float64Array
  #runs = 0

  constructor(parts: WasmProgramParts) {
    const { id, module, memory, weightBytes, kernels, threads } = parts
    this.#parts = parts
    this.weightBytes = weightBytes
    this.kernels = kernels
    this.#milliseconds = new Float64Array(kernels.length)
    this.#slots = new Turnstile(Array.from({ length: threads }, () => ({ start: 0, bytes: 0 })))
    this.#load = { kind: 'load', program: id, module, memory: undefined, maximum: memory.pages }
  }

  /** Has the threads load the module. */
  async start(): Promise<void> {
    const { id, memory, threads } = this.#parts
    crew.join(id, threads)
    const nothing = { program: id, list: 0, count: 0, cancel: 0 }
    await Promise.all(Array.from({ length: threads }, () => memory.run(nothing, this.#load, [])))
  }

  async run(batch: Batch, signal?: AbortSignal): Promise<void> {
    if (this.#disposed) throw usage('The program was disposed')
    throwIfAborted(signal)
    const blocks = blocksOf(batch.starts, this.#parts.threads)
    this.#runs++
    // Where several runs wait for threads, one for each does more than all for one after the other.
    const isAlone = blocks.length === 1 && this.#running.size === 0
    const work = Promise.allSettled(blocks.map((block) => this.#runBlock(batch, block, isAlone, signal)))
    this.#running.add(work)
    const outcomes = await work
    this.#running.delete(work)
    throwIfAborted(signal)
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }

  profile(): OperatorTime[] | undefined {
    const { plan, timed } = this.#parts
    if (!timed) return undefined
    const milliseconds = new Float64Array(plan.steps.length)
    for (const [kernel, step] of timed.entries()) milliseconds[step] += this.#milliseconds[kernel]
    const times = plan.steps.map(({ kind, name }, i) => ({ operator: kind, node: name, calls: this.#runs, milliseconds: milliseconds[i] }))
    return times.sort((a, b) => b.milliseconds - a.milliseconds)
  }

  allocateCache(capacity: number): WasmCache {
    return new WasmCache(this.#parts.plan, this.#parts.memory, capacity)
  }

  /** Waits for runs in flight: until all memory is free. */
  dispose(): Promise<void> {
    this.#disposed ??= (async () => {
      for (let i = 0; i < this.#parts.threads; i++) await this.#slots.take()
      crew.leave(this.#parts.id)
    })()
    return this.#disposed
  }

  async #runBlock(batch: Batch, block: Block, isAlone: boolean, signal: AbortSignal | undefined): Promise<void> {
    const slot = await this.#slots.take()
    try {
      if (!signal?.aborted) await this.#runIn(slot, batch, block, isAlone, signal)
    } finally {
      if (slot.late) slot.late.then(() => this.#slots.give(slot))
      else this.#slots.give(slot)
    }
  }

  async #runIn(slot: Slot, batch: Batch, block: Block, isAlone: boolean, signal: AbortSignal | undefined): Promise<void> {
    const { memory, lists, threads } = this.#parts
    const rows = { token: batch.starts[block.end] - batch.starts[block.first], sequence: block.end - block.first }
    const team = isAlone && crew.idle >= threads ? lists.together(rows) : []
    this.#makeRoom(slot, team, rows)
    const places = placesIn(slot.start, team, this.#parts, rows)
    memory.write(places.header, new Int32Array(slotHeader.bytes / 4))
    this.#fill(slot, places, rows, batch.keepLast ?? false)
    this.#writeInputs(places, batch, block)
    const outputs = this.#outputs(batch, block, places, rows)
    const caches = memory.shared ? [] : this.#cacheSpans(batch, block)
    const reads = [...outputs.map(({ span }) => span), ...caches.map(({ span }) => span)]
    const results = await this.#runLists(slot, places, reads, signal)
    if (!results || signal?.aborted) return
    for (const [i, { view, target, count, first }] of outputs.entries()) copyRows(results[i], view, count, target, first)
    for (const [i, { cache, span }] of caches.entries()) cache.keep(span, results[outputs.length + i])
  }

  /** Writes the lists of all threads, unless they are as they were. */
  #fill(slot: Slot, { alone, team }: SlotPlaces, rows: Readonly<Record<RowKind, number>>, keepLast: boolean): void {
    const { memory, start } = this.#parts
    const run = [rows.token, rows.sequence, keepLast, team.length].join()
    if (slot.filled === run) return
    slot.filled = run
    for (const { list, layout, places } of [alone, ...team]) memory.write(list, layout.fill(list, places, rows, keepLast))
    for (const { entry, list, layout, places } of team) {
      const [share, all] = [layout.calls.length, alone.layout.calls.length]
      const values = { header: places.header, threads: team.length, share: list, shareCount: share, alone: alone.list, aloneCount: all }
      memory.write(entry, Int32Array.of(start!, entry + 8, ...startWords.map((name) => values[name])))
    }
  }

  /**
   * Has the threads run through their lists, and gives what the spans hold afterwards; nothing where that was cancelled. A thread that fails stops
   * the others. Where one has done all the work alone, nobody waits for the others.
   */
  async #runLists(
    slot: Slot,
    { header, alone, team }: SlotPlaces,
    reads: readonly Span[],
    signal: AbortSignal | undefined,
  ): Promise<readonly Uint8Array[] | undefined> {
    const { id, memory, timed } = this.#parts
    const cancel = header + slotHeader.cancel
    const stop = onAbort(signal, () => memory.cancel(cancel))
    const lists = team.length
      ? team.map(({ entry }) => ({ list: entry, count: 1 }))
      : [{ list: alone.list, count: alone.layout.calls.length }]
    const jobs = lists.map(async (list) => {
      try {
        return await memory.run({ program: id, ...list, cancel, timed: timed !== undefined }, this.#load, team.length ? [] : reads)
      } catch (error) {
        memory.cancel(cancel)
        throw error
      }
    })
    slot.late = Promise.allSettled(jobs).then(() => {
      slot.late = undefined
    })
    const isDone = () => team.length > 0 && memory.read(header + slotHeader.done, 4).some(Boolean)
    const outcomeOf = async (job: Promise<Outcome>): Promise<readonly Outcome[]> => {
      const outcome = await job
      if (isDone()) return [outcome]
      await slot.late
      return Promise.all(jobs)
    }
    try {
      const outcomes = await Promise.race(jobs.map(outcomeOf))
      if (outcomes.some(({ cancelled }) => cancelled)) return undefined
      const [{ results, milliseconds }] = outcomes
      milliseconds?.forEach((time, kernel) => {
        this.#milliseconds[kernel] += time
      })
      return team.length ? reads.map(({ address, bytes }) => memory.read(address, bytes)) : results
    } finally {
      stop()
    }
  }

  #makeRoom(slot: Slot, team: readonly Layout[], rows: Readonly<Record<RowKind, number>>): void {
    const { memory } = this.#parts
    const { end } = placesIn(0, team, this.#parts, rows)
    if (slot.start && end <= slot.bytes) return
    if (slot.start) memory.heap.free(slot.start)
    slot.start = 0
    slot.filled = undefined
    slot.start = memory.heap.allocate(end)
    slot.bytes = end
  }

  #writeInputs({ table, numbers, images }: SlotPlaces, batch: Batch, { first, end }: Block): void {
    const { memory, lists, plan } = this.#parts
    const { numbers: inputs } = lists.alone
    const [from, to] = [batch.starts[first], batch.starts[end]]
    const sequences = new Int32Array(((end - first) * sequenceBytes) / 4)
    const index = new Int32Array(to - from)
    for (let i = first; i < end; i++) {
      const [start, count] = [batch.starts[i] - from, batch.starts[i + 1] - batch.starts[i]]
      const cache = batch.caches?.[i] as WasmCache | undefined
      if (cache && batch.pasts[i] + count > cache.capacity) throw badInput(`Sequence ${i} has more tokens than its cache has room for`)
      sequences.set([start, count, batch.pasts[i], cache?.address ?? 0, cache?.capacity ?? 0], ((i - first) * sequenceBytes) / 4)
      for (let row = 0; row < count; row++) index[start + row] = batch.pasts[i] + row
    }
    memory.write(table, sequences)
    for (const [i, name] of inputs.entries())
      memory.write(numbers + 4 * i * (to - from), name === 'index' ? index : batch.numbers[name].subarray(from, to))
    let at = images
    for (const [name, elements] of plan.images) {
      const values = batch.images[name].subarray(first * elements, end * elements)
      memory.write(at, values)
      at += values.byteLength
    }
  }

  /** The outputs that are wanted: where their rows lie after the run, and where they go. */
  #outputs(batch: Batch, block: Block, { arena }: SlotPlaces, rows: Readonly<Record<RowKind, number>>) {
    const { plan } = this.#parts
    return Object.entries(batch.outputs).map(([name, target]) => {
      const view = plan.outputs.get(name)
      if (!view) throw badInput(`The plan has no output "${name}"`, { where: name })
      const perToken = view.buffer.per === 'token' && !batch.keepLast
      const [count, first] = perToken ? [rows.token, batch.starts[block.first]] : [rows.sequence, block.first]
      const address = arena + viewOffset(plan.memory, view, rows)
      return { view, target, count, first, span: { address, bytes: count * rowBytes(view.buffer) - 4 * view.column } }
    })
  }

  #cacheSpans(batch: Batch, { first, end }: Block): { cache: WasmCache; span: Span }[] {
    const caches = (batch.caches ?? []).slice(first, end) as WasmCache[]
    return caches.flatMap((cache, i) => {
      const count = batch.starts[first + i + 1] - batch.starts[first + i]
      return cache.written(batch.pasts[first + i], count).map((span) => ({ cache, span }))
    })
  }
}

/** The list of a thread, and the places that its kernels see. */
interface ThreadPlaces {
  readonly layout: Layout
  readonly list: number
  readonly places: Places
  /** Where a thread of a team starts: a list of one call, and its words. */
  readonly entry: number
}

/** Where the parts of a slot lie. */
interface SlotPlaces extends Omit<Places, 'scratch'> {
  readonly alone: ThreadPlaces
  readonly team: readonly ThreadPlaces[]
  readonly end: number
}

/** Each thread has a list and scratch memory of its own. */
function placesIn(
  start: number,
  team: readonly Layout[],
  { plan, lists }: Pick<WasmProgramParts, 'plan' | 'lists'>,
  rows: Readonly<Record<RowKind, number>>,
): SlotPlaces {
  const { numbers: inputs, imageBytes } = lists.alone
  let end = start
  const place = (bytes: number) => {
    const here = end
    end += roundUp(bytes, 64)
    return here
  }
  const places = {
    header: place(slotHeader.bytes),
    table: place(rows.sequence * sequenceBytes),
    numbers: place(4 * rows.token * inputs.length),
    images: place(imageBytes * rows.sequence),
    arena: place(arenaBytes(plan.memory, rows)),
    rowScratch: place(lists.rowScratch.bytes(rows)),
  }
  const [alone, ...others] = [lists.alone, ...team].map((layout): ThreadPlaces => {
    const [list, scratch, entry] = [place(layout.bytes), place(layout.scratchBytes), place(8 + 4 * startWords.length)]
    return { layout, list, places: { ...places, scratch }, entry }
  })
  return { ...places, alone, team: others, end }
}

/** Divides a batch into blocks of whole sequences, as many for each thread. */
export function blocksOf(starts: Int32Array, threads: number): Block[] {
  const sequences = starts.length - 1
  const tokens = starts[sequences]
  const rounds = Math.ceil(tokens / (mostTokens * threads))
  const count = Math.max(1, Math.min(sequences, rounds * threads, Math.floor(tokens / fewestTokens)))
  const blocks: Block[] = []
  let first = 0
  for (let i = 1; i <= count && first < sequences; i++) {
    let end = first + 1
    const target = (i * tokens) / count
    while (end < sequences && (i === count || (starts[end] + starts[end + 1]) / 2 <= target)) end++
    blocks.push({ first, end })
    first = end
  }
  return blocks
}

/** Copies rows of the arena to their places among those of the whole batch. */
function copyRows(bytes: Uint8Array, { columns, buffer }: View, count: number, target: Float32Array, first: number): void {
  const stride = rowBytes(buffer) / 4
  const source = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
  for (let row = 0; row < count; row++) target.set(source.subarray(row * stride, row * stride + columns), (first + row) * columns)
}
