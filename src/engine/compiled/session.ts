import { badInput, unsupported } from '../../base/errors.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import type { NDArray } from '../../numbers/dtype.js'
import { checkFeeds, wantedOutputs } from '../feeds.js'
import { ArrayOutput } from '../outputs.js'
import type { Feeds, OperatorTime, Output, Port, RunOptions, Session, TokenSequence } from '../session.js'
import type { Backend, Program } from './backend.js'
import { CacheOutput, CacheStore, CacheView, capacityFor, continued, fill } from './caches.js'
import { checkPlaces, imagesOf, lastOf, type Packing, packingOf, pastTokens, seenColumns, tokenNumbers, unpacked } from './packing.js'
import type { PlanOptions } from './plan/index.js'
import type { PlanOutline } from './plan/plan.js'
import { CompiledSequence } from './token-sequence.js'

/** How a graph is loaded: threads at most, whether times are kept, what keys and values are kept as, and what attention multiplies. */
export type CompiledOptions = Parameters<Backend['compile']>[1] & PlanOptions

/**
 * Loads a canonical graph into kernels of a backend.
 *
 * @throws TinsmithError `unsupported` that names all operators for which there are no kernels
 */
export async function openCompiled(graph: Graph, backend: Backend, options: CompiledOptions): Promise<CompiledSession> {
  const { planOf } = await import('./plan/index.js')
  const plan = await planOf(graph, backend.fusions, options)
  const port = ({ name, dtype, shape }: Value): Port => ({ name, dtype: dtype!, shape: shape ?? [] })
  const ports = { inputs: graph.inputs.map(port), outputs: graph.outputs.map(port) }
  return new CompiledSession(ports, plan, await backend.compile(plan, options), backend)
}

/** A session that was found among those that earlier processes kept; who gets one opens or closes it. */
export interface FoundSession {
  /** What was said when it was kept. */
  readonly about: unknown
  open(): Promise<Session>
  close(): void
}

/** A session that was kept under this key, for the same backend, processor and number of threads. */
export function findSession(key: string, backend: Backend, options: Pick<CompiledOptions, 'threads'>): FoundSession | undefined {
  const found = backend.kept?.find(key, options)
  if (!found) return undefined
  const { about, ports } = found.about as KeptSession
  return { about, open: async () => new CompiledSession(ports, found.plan, await found.open(), backend), close: found.close }
}

interface KeptSession {
  readonly about: unknown
  readonly ports: Ports
}

/** Inputs and outputs of a graph. */
interface Ports {
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
}

/** How many of the last tokens outputs have a row for: 1, or 0 for all. Files that take it name it so. */
const keptPort: Port = { name: 'num_logits_to_keep', dtype: 'int64', shape: [] }
const keepAll: NDArray = { dtype: 'int64', shape: [], data: BigInt64Array.of(0n) }

function keepsLast({ data }: NDArray): boolean {
  if (data[0] !== 0n && data[0] !== 1n) throw unsupported(`num_logits_to_keep must be 0 (all) or 1 here, not ${data[0]}`)
  return data[0] === 1n
}

const pastName = /^past_key_values\.(\d+)\.(key|value)$/
const presentName = /^present\.(\d+)\.(key|value)$/

/** An input or output that holds the keys or values of a layer. */
interface CachePort {
  readonly name: string
  readonly layer: number
  readonly part: 'keys' | 'values'
}

function cachePort(name: string, pattern: RegExp): CachePort | undefined {
  const match = pattern.exec(name)
  return match ? { name, layer: Number(match[1]), part: match[2] === 'key' ? 'keys' : 'values' } : undefined
}

/** A graph in kernels of a backend. */
export class CompiledSession implements Session {
  readonly engine: string
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
  readonly #keeps: boolean
  /** Caches that go in and come out. */
  readonly #pasts: readonly CachePort[]
  readonly #presents: ReadonlyMap<string, CachePort>

  constructor(
    readonly ports: Ports,
    readonly plan: PlanOutline,
    readonly program: Program,
    readonly backend: Backend,
  ) {
    const { inputs, outputs } = ports
    this.engine = `compiled ${backend.name}`
    this.#keeps = plan.steps.some(({ kind }) => kind === 'keep')
    this.inputs = [...inputs, ...(this.#keeps ? [keptPort] : [])]
    this.outputs = outputs
    this.#pasts = this.inputs.flatMap(({ name }) => cachePort(name, pastName) ?? [])
    this.#presents = new Map(this.outputs.flatMap(({ name }) => cachePort(name, presentName) ?? []).map((one) => [one.name, one]))
  }

  async run(given: Feeds, options: RunOptions = {}): Promise<Record<string, Output>> {
    const feeds = this.#keeps ? { [keptPort.name]: keepAll, ...given } : given
    const isCache = (array: Feeds[string]) => array instanceof CacheOutput && array.view.store.program === this.program
    checkFeeds(this.inputs, feeds, isCache)
    const wanted = wantedOutputs(this.outputs, options)
    const { packing, past } = this.#packed(feeds)
    const pasts = pastTokens(packing, past, feeds.attention_mask)
    checkPlaces(this.plan, packing, pasts)
    const keepLast = this.#keeps && keepsLast(feeds[keptPort.name])
    const tokens = keepLast ? packing.sequences : packing.starts[packing.sequences]
    const counts = pasts.map((count, i) => count + packing.starts[i + 1] - packing.starts[i])
    const view = this.plan.caches.length ? this.#caches(feeds, packing, past, counts) : undefined
    const outputs = Object.fromEntries(
      wanted.flatMap(({ name }) => {
        const rows = this.plan.outputs.get(name)
        return rows ? [[name, new Float32Array(rows.columns * (rows.buffer.per === 'token' ? tokens : packing.sequences))]] : []
      }),
    )
    view?.store.used.set(counts)
    const batch = { starts: packing.starts, pasts, caches: view?.store.caches, outputs, keepLast }
    await this.program.run(
      { ...batch, numbers: tokenNumbers(this.plan, packing, feeds), images: imagesOf(this.plan, feeds) },
      options.signal,
    )
    return this.#results(wanted, outputs, keepLast ? lastOf(packing) : packing, view, options)
  }

  #packed(feeds: Feeds): { packing: Packing; past: number } {
    const { tokens } = this.plan
    const [image] = this.plan.images.keys()
    if (tokens !== undefined) return { packing: packingOf(feeds[image].shape[0], tokens, 0, undefined), past: 0 }
    const [first] = this.plan.numbers
    if (!first) throw unsupported('The compiled engine runs graphs over tokens or images only')
    const [sequences, width] = feeds[first].shape
    if (!width) throw badInput('A batch needs one token at least')
    const mask = feeds.attention_mask
    const past = this.plan.caches.length ? feeds[this.#pasts[0].name].shape[2] : 0
    if (mask && (mask.shape[0] !== sequences || mask.shape[1] !== past + width))
      throw badInput(`attention_mask must have the shape [${sequences}, ${past + width}], not [${mask.shape.join(', ')}]`, {
        where: 'attention_mask',
      })
    return { packing: packingOf(sequences, width, past, mask), past }
  }

  #caches(feeds: Feeds, packing: Packing, past: number, counts: Int32Array): CacheView {
    const width = past + packing.width
    const mask = feeds.attention_mask && { ...feeds.attention_mask, data: (feeds.attention_mask.data as BigInt64Array).slice() }
    const seen = () => seenColumns(packing.sequences, width, mask)
    const fed = this.#pasts.map(({ name, ...port }) => ({ ...port, array: feeds[name] }))
    const [{ array: first }] = fed
    const isOwn = first instanceof CacheOutput && fed.every(({ array }) => array instanceof CacheOutput && array.view === first.view)
    if (isOwn) return new CacheView(continued(first.view, counts), counts, seen, width)
    const store = new CacheStore(this.program, Array.from(counts, capacityFor))
    const columns = seen()
    for (const { array, layer, part } of fed) fill(store, layer, part, array, columns)
    return new CacheView(store, counts, seen, width)
  }

  #results(
    wanted: readonly Port[],
    rows: Readonly<Record<string, Float32Array>>,
    packing: Packing,
    view: CacheView | undefined,
    { into = {} }: RunOptions,
  ): Record<string, Output> {
    let held = 0
    const release = () => {
      if (--held === 0) view?.release()
    }
    const results = wanted.map(({ name, shape }): [string, Output] => {
      const present = this.#presents.get(name)
      if (present && view) {
        held++
        const [heads, size] = [Number(shape[1]), Number(shape[3])]
        return [name, new CacheOutput(view, present.layer, present.part, heads, size, once(release))]
      }
      const perToken = this.plan.outputs.get(name)!.buffer.per === 'token'
      const data = perToken ? unpacked(rows[name], packing) : rows[name]
      const inner = shape.slice(perToken ? 2 : 1).map(Number)
      const target = into[name]?.data as Float32Array | undefined
      target?.set(data)
      const dims = [packing.sequences, ...(perToken ? [packing.width] : []), ...inner]
      return [name, new ArrayOutput({ dtype: 'float32', shape: dims, data: target ?? data })]
    })
    if (!held) view?.release()
    return Object.fromEntries(results)
  }

  tokenSequence(): TokenSequence | undefined {
    return CompiledSequence.of(this.plan, this.program)
  }

  async profile(): Promise<OperatorTime[]> {
    const times = this.program.profile?.()
    if (!times)
      throw unsupported('The compiled engine keeps no times of operators here', { hint: 'inspect --plan says what each step does.' })
    return times
  }

  /**
   * Keeps the session for later processes, where the backend can.
   *
   * @param key all that it depends on beside backend, processor and number of threads
   * @param about what whoever finds it has to know: plain data
   */
  async keep(key: string, about: unknown): Promise<void> {
    const kept: KeptSession = { about, ports: this.ports }
    await this.backend.kept?.keep(key, kept, this.program)
  }

  async dispose(): Promise<void> {
    await this.program.dispose()
  }
}

function once(action: () => void): () => void {
  let done = false
  return () => {
    if (!done) action()
    done = true
  }
}
