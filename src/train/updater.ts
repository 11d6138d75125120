import type { FlatGraph } from '../engine/compiled/flat-kernels.js'
import { openGraph } from '../engine/open.js'
import type { Feeds, Session } from '../engine/session.js'
import { Graph } from '../ir/graph.js'
import { Net } from '../nn/net.js'
import { type NDArray, ndarray, sizeOf } from '../numbers/dtype.js'
import {
  type ElementwiseOptimizer,
  type MatrixUpdate,
  matrixShape,
  type Optimizer,
  type StepFacts,
  type Update,
} from './optimizers/optimizer.js'
import type { Parameter, ParameterStore } from './parameters.js'
import { openFlat } from './pieces.js'

/** A part of the flat memory with its own weight decay and learning rate. */
export interface Span {
  readonly start: number
  readonly end: number
  readonly weightDecay: number
  /** Factor on the learning rate. */
  readonly rate: number
}

/** Tensors of a state by the names of their parameters. */
export type Tensors = ReadonlyMap<string, NDArray>

/** Parameters side by side that are updated by the same graph: any number elementwise, or one as a whole. */
type Part = ElementwisePart | MatrixPart

interface Common {
  readonly start: number
  readonly end: number
  readonly parameters: readonly Parameter[]
  readonly state: Readonly<Record<string, Float32Array>>
}

interface ElementwisePart extends Common {
  readonly rule: ElementwiseOptimizer
  readonly graph: FlatGraph
}

interface MatrixPart extends Common {
  readonly rule: MatrixUpdate
  readonly session: Session
}

/** An optimizer at work: its state in flat memory, updated in place by graphs of its own. */
export class Updater {
  readonly #parts: readonly Part[]

  private constructor(parts: readonly Part[]) {
    this.#parts = parts
  }

  /** @param linears names of the parameters that are weights of linears; see {@link ParameterFacts} */
  static async create(optimizer: Optimizer, store: ParameterStore, linears: ReadonlySet<string> = new Set()): Promise<Updater> {
    const graphs = new Map<ElementwiseOptimizer, FlatGraph>()
    const sessions = new Map<string, Session>()
    const parts: Part[] = []
    for (const { rule, parameters } of partition(optimizer, store, linears)) {
      const [start, end] = [parameters[0].offset, parameters.at(-1)!.offset + parameters.at(-1)!.size]
      const sizes = isElementwise(rule) ? rule.state.map((name) => [name, end - start] as const) : sizesOf(rule)
      const state: Record<string, Float32Array> = {}
      for (const [name, size] of sizes) state[name] = await store.allocate(size)
      const common = { start, end, parameters, state }
      if (isElementwise(rule)) {
        if (!graphs.has(rule)) graphs.set(rule, await openFlat(updateGraph(rule, ['n'])))
        parts.push({ ...common, rule, graph: graphs.get(rule)! })
      } else {
        const shape = matrixShape(parameters[0].shape)
        if (!sessions.has(`${shape}`)) sessions.set(`${shape}`, await openGraph(updateGraph(rule, shape)))
        parts.push({ ...common, rule, session: sessions.get(`${shape}`)! })
      }
    }
    return new Updater(parts)
  }

  /** The state by name, each a tensor for every parameter that has it; shared memory. */
  get state(): Readonly<Record<string, Tensors>> {
    const all: Record<string, Map<string, NDArray>> = {}
    for (const { rule, start, parameters, state } of this.#parts)
      for (const [name, memory] of Object.entries(state)) {
        all[name] ??= new Map()
        for (const { name: parameter, shape, offset, size } of parameters)
          all[name].set(
            parameter,
            isElementwise(rule)
              ? { dtype: 'float32', shape, data: memory.subarray(offset - start, offset - start + size) }
              : { dtype: 'float32', shape: rule.state[name], data: memory },
          )
      }
    return all
  }

  /**
   * Updates a span of the parameters.
   *
   * @param factor what the gradients are multiplied by (clipping, averages over accumulated batches)
   */
  async update(
    parameters: Float32Array,
    gradients: Float32Array,
    span: Span,
    facts: Omit<StepFacts, 'weightDecay'>,
    factor: number,
  ): Promise<void> {
    const own = { step: facts.step, learningRate: facts.learningRate * span.rate, weightDecay: span.weightDecay }
    for (const part of this.#parts) {
      const [start, end] = [Math.max(part.start, span.start), Math.min(part.end, span.end)]
      if (start >= end) continue
      const scalars = { ...part.rule.scalars(own), factor }
      if ('graph' in part) await updateElements(part, parameters, gradients, [start, end], scalars)
      else await updateMatrix(part, parameters, gradients, { ...feedsOf(scalars), ...part.rule.feeds?.(facts.step) })
    }
  }

  async dispose(): Promise<void> {
    const opened = new Set(this.#parts.map((part) => ('graph' in part ? part.graph : part.session)))
    await Promise.all([...opened].map((graph) => graph.dispose()))
  }
}

function isElementwise(rule: ElementwiseOptimizer | MatrixUpdate): rule is ElementwiseOptimizer {
  return Array.isArray(rule.state)
}

/** Neighbours with the same elementwise rule together. */
function partition(optimizer: Optimizer, store: ParameterStore, linears: ReadonlySet<string>) {
  const parts: { rule: ElementwiseOptimizer | MatrixUpdate; parameters: Parameter[] }[] = []
  for (const entry of store.entries) {
    const facts = { name: entry.name, shape: entry.shape, isLinear: linears.has(entry.name) }
    const rule = 'updateOf' in optimizer ? optimizer.updateOf(facts) : optimizer
    if (parts.at(-1)?.rule === rule) parts.at(-1)!.parameters.push(entry)
    else parts.push({ rule, parameters: [entry] })
  }
  return parts
}

function sizesOf({ state }: MatrixUpdate): (readonly [string, number])[] {
  return Object.entries(state).map(([name, shape]) => [name, sizeOf(shape)])
}

function feedsOf(scalars: Readonly<Record<string, number>>): Feeds {
  return Object.fromEntries(Object.entries(scalars).map(([name, value]) => [name, ndarray('float32', [], [value])]))
}

async function updateElements(
  { graph, state, start }: ElementwisePart,
  parameters: Float32Array,
  gradients: Float32Array,
  [first, last]: readonly [number, number],
  scalars: Readonly<Record<string, number>>,
) {
  const own: Record<string, Float32Array> = { parameter: parameters.subarray(first, last) }
  for (const [name, memory] of Object.entries(state)) own[name] = memory.subarray(first - start, last - start)
  await graph.run({ ...own, gradient: gradients.subarray(first, last) }, nextOf(own), scalars)
}

async function updateMatrix(part: MatrixPart, parameters: Float32Array, gradients: Float32Array, shared: Feeds) {
  const shape = matrixShape(part.parameters[0].shape)
  const whole = (memory: Float32Array): NDArray => ({ dtype: 'float32', shape, data: memory.subarray(part.start, part.end) })
  const own: Record<string, NDArray> = { parameter: whole(parameters) }
  for (const [name, memory] of Object.entries(part.state)) own[name] = { dtype: 'float32', shape: part.rule.state[name], data: memory }
  await part.session.run({ ...shared, ...own, gradient: whole(gradients) }, { into: nextOf(own) })
}

function nextOf<Array>(own: Readonly<Record<string, Array>>): Record<string, Array> {
  return Object.fromEntries(Object.entries(own).map(([name, array]) => [`${name}/next`, array]))
}

/** The update of n elements, or of a whole parameter: reads `NAME`, writes `NAME/next`. */
export function updateGraph(rule: ElementwiseOptimizer | MatrixUpdate, size: readonly (number | string)[]): Graph {
  const net = new Net(new Graph('update'))
  const input = (name: string, shape: readonly (number | string)[]) => net.input(name, 'float32', shape)
  const parameter = input('parameter', size)
  const gradient = net.op('Mul', [input('gradient', size), input('factor', [])])
  const shapes = isElementwise(rule) ? rule.state.map((name) => [name, size] as const) : Object.entries(rule.state)
  const state = Object.fromEntries(shapes.map(([name, own]) => [name, input(name, own)]))
  const next = rule.update(net, { parameter, gradient, state, fed: fedInputs(net, rule) })
  net.output('parameter/next', next.parameter)
  for (const [name, value] of Object.entries(next.state)) net.output(`${name}/next`, value)
  return net.graph
}

function fedInputs(net: Net, rule: Update & { feeds?(step: number): Feeds }) {
  const shapes = Object.entries(rule.scalars({ step: 1, learningRate: 1, weightDecay: 0 })).map(([name]) => [name, [] as number[]] as const)
  const further = Object.entries(rule.feeds?.(1) ?? {}).map(([name, { shape }]) => [name, shape] as const)
  return Object.fromEntries([...shapes, ...further].map(([name, shape]) => [name, net.input(name, 'float32', shape)]))
}
