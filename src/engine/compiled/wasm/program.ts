import { badInput, throwIfAborted, usage } from '../../../base/errors.js'
import { onAbort } from '../../ort/abort.js'
import type { Batch, Program } from '../backend.js'
import type { Plan } from '../plan/plan.js'
import { type RowKind, rowBytes, type View } from '../plan/steps.js'
import { arenaBytes, viewOffset } from '../program.js'
import { WasmCache } from './cache.js'
import { type Layout, type Places, sequenceBytes } from './layout.js'
import type { ProgramMemory } from './memory.js'
import type { Request, Span } from './protocol.js'
import { crew, Turnstile } from './workers.js'

export interface WasmProgramParts {
  readonly id: number
  readonly plan: Plan
  readonly memory: ProgramMemory
  readonly module: WebAssembly.Module
  readonly layout: Layout
  readonly weightBytes: number
  readonly kernels: readonly string[]
  readonly threads: number
}

/** Memory for one block of sequences at a time. */
interface Slot {
  /** Start of all; 0 before the first run. */
  start: number
  rows: Record<RowKind, number>
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

  constructor(parts: WasmProgramParts) {
    const { id, module, memory, weightBytes, kernels, threads } = parts
    this.#parts = parts
    this.weightBytes = weightBytes
    this.kernels = kernels
    this.#slots = new Turnstile(Array.from({ length: threads }, () => ({ start: 0, rows: { token: 0, sequence: 0 } })))
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
    const work = Promise.allSettled(blocks.map((block) => this.#runBlock(batch, block, signal)))
    this.#running.add(work)
    const outcomes = await work
    this.#running.delete(work)
    throwIfAborted(signal)
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }

  allocateCache(capacity: number): WasmCache {
    return new WasmCache(this.#parts.plan, this.#parts.memory, capacity)
  }

  /** Waits for runs in flight. */
  dispose(): Promise<void> {
    this.#disposed ??= (async () => {
      await Promise.all(this.#running)
      crew.leave(this.#parts.id)
    })()
    return this.#disposed
  }

  async #runBlock(batch: Batch, block: Block, signal: AbortSignal | undefined): Promise<void> {
    const slot = await this.#slots.take()
    try {
      if (!signal?.aborted) await this.#runIn(slot, batch, block, signal)
    } finally {
      this.#slots.give(slot)
    }
  }

  async #runIn(slot: Slot, batch: Batch, block: Block, signal: AbortSignal | undefined): Promise<void> {
    const { id, plan, memory, layout, kernels } = this.#parts
    const rows = { token: batch.starts[block.end] - batch.starts[block.first], sequence: block.end - block.first }
    this.#makeRoom(slot, rows)
    const { cancel, list, places } = placesIn(slot, layout, plan)
    memory.write(cancel, Int32Array.of(0))
    memory.write(list, layout.fill(list, places, rows, batch.keepLast ?? false))
    this.#writeInputs(places, batch, block)
    const outputs = this.#outputs(batch, block, places, rows)
    const caches = memory.shared ? [] : this.#cacheSpans(batch, block)
    const stop = onAbort(signal, () => memory.cancel(cancel))
    try {
      const job = { program: id, list, count: kernels.length, cancel }
      const { cancelled, results } = await memory.run(job, this.#load, [
        ...outputs.map(({ span }) => span),
        ...caches.map(({ span }) => span),
      ])
      if (cancelled || signal?.aborted) return
      for (const [i, { view, target, count, first }] of outputs.entries()) copyRows(results[i], view, count, target, first)
      for (const [i, { cache, span }] of caches.entries()) cache.keep(span, results[outputs.length + i])
    } finally {
      stop()
    }
  }

  #makeRoom(slot: Slot, rows: Readonly<Record<RowKind, number>>): void {
    if (slot.start && rows.token <= slot.rows.token && rows.sequence <= slot.rows.sequence) return
    const { memory, layout, plan } = this.#parts
    if (slot.start) memory.heap.free(slot.start)
    slot.start = 0
    const enough = { token: Math.max(rows.token, slot.rows.token), sequence: Math.max(rows.sequence, slot.rows.sequence) }
    slot.rows = { token: 0, sequence: 0 }
    slot.start = memory.heap.allocate(placesIn({ start: 0, rows: enough }, layout, plan).end)
    slot.rows = enough
  }

  #writeInputs({ table, numbers, images }: Places, batch: Batch, { first, end }: Block): void {
    const { memory, layout, plan } = this.#parts
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
    for (const [i, name] of layout.numbers.entries())
      memory.write(numbers + 4 * i * (to - from), name === 'index' ? index : batch.numbers[name].subarray(from, to))
    let at = images
    for (const [name, elements] of plan.images) {
      const values = batch.images[name].subarray(first * elements, end * elements)
      memory.write(at, values)
      at += values.byteLength
    }
  }

  /** The outputs that are wanted: where their rows lie after the run, and where they go. */
  #outputs(batch: Batch, block: Block, { arena }: Places, rows: Readonly<Record<RowKind, number>>) {
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

/** Where the parts of a slot lie, and where it ends. */
function placesIn({ start, rows }: Slot, layout: Layout, plan: Plan) {
  const aligned = (bytes: number) => Math.ceil(bytes / 64) * 64
  const list = start + 64
  const table = list + aligned(layout.bytes)
  const numbers = table + aligned(rows.sequence * sequenceBytes)
  const images = numbers + aligned(4 * rows.token * layout.numbers.length)
  const arena = images + aligned(layout.imageBytes * rows.sequence)
  const scratch = arena + aligned(arenaBytes(plan.memory, rows))
  return { cancel: start, list, places: { scratch, table, numbers, images, arena }, end: scratch + layout.scratchBytes(rows) }
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
