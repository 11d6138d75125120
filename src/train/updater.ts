import { openGraph } from '../engine/open.js'
import type { Feeds, Session } from '../engine/session.js'
import { Graph } from '../ir/graph.js'
import { Net } from '../nn/net.js'
import { type NDArray, sizeOf } from '../numbers/dtype.js'
import {
  type ElementwiseOptimizer,
  type MatrixUpdate,
  matrixShape,
  type Optimizer,
  type StepFacts,
  type Update,
} from './optimizers/optimizer.js'
import type { Parameter, ParameterStore } from './parameters.js'
import { flatMemory, piece, pieceSize, scalarFeed } from './pieces.js'

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
interface Part {
  readonly start: number
  readonly end: number
  readonly parameters: readonly Parameter[]
  readonly session: Session
  readonly rule: ElementwiseOptimizer | MatrixUpdate
  readonly state: Readonly<Record<string, Float32Array>>
}

/** An optimizer at work: its state in flat memory, updated in place by graphs of its own. */
export class Updater {
  readonly #parts: readonly Part[]

  private constructor(parts: readonly Part[]) {
    this.#parts = parts
  }

  /** @param linears names of the parameters that are weights of linears; see {@link ParameterFacts} */
  static async create(optimizer: Optimizer, store: ParameterStore, linears: ReadonlySet<string> = new Set()): Promise<Updater> {
    const sessions = new Map<string, Session>()
    const parts: Part[] = []
    for (const { rule, parameters } of partition(optimizer, store, linears)) {
      const key = isElementwise(rule) ? rule.name : `whole [${matrixShape(parameters[0].shape)}]`
      if (!sessions.has(key)) sessions.set(key, await openGraph(updateGraph(rule, parameters[0])))
      const [start, end] = [parameters[0].offset, parameters.at(-1)!.offset + parameters.at(-1)!.size]
      const sizes = isElementwise(rule) ? rule.state.map((name) => [name, end - start] as const) : sizesOf(rule)
      const state = Object.fromEntries(sizes.map(([name, size]) => [name, flatMemory(size)]))
      parts.push({ start, end, parameters, session: sessions.get(key)!, rule, state })
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
      const { rule } = part
      const shared = feedsOf({ ...rule.scalars(own), factor })
      if (isElementwise(rule)) await inPieces(part, parameters, gradients, start, end, shared)
      else await asWhole(part, rule, parameters, gradients, { ...shared, ...rule.feeds?.(facts.step) })
    }
  }

  async dispose(): Promise<void> {
    await Promise.all([...new Set(this.#parts.map((part) => part.session))].map((session) => session.dispose()))
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
  return Object.fromEntries(Object.entries(scalars).map(([name, value]) => [name, scalarFeed(value)]))
}

async function inPieces(part: Part, parameters: Float32Array, gradients: Float32Array, first: number, last: number, shared: Feeds) {
  for (let start = first; start < last; start += pieceSize) {
    const end = Math.min(start + pieceSize, last)
    const own: Record<string, NDArray> = { parameter: piece(parameters, start, end) }
    for (const [name, memory] of Object.entries(part.state)) own[name] = piece(memory, start - part.start, end - part.start)
    await part.session.run({ ...shared, ...own, gradient: piece(gradients, start, end) }, { into: nextOf(own) })
  }
}

async function asWhole(part: Part, rule: MatrixUpdate, parameters: Float32Array, gradients: Float32Array, shared: Feeds) {
  const shape = matrixShape(part.parameters[0].shape)
  const whole = (memory: Float32Array): NDArray => ({ dtype: 'float32', shape, data: memory.subarray(part.start, part.end) })
  const own: Record<string, NDArray> = { parameter: whole(parameters) }
  for (const [name, memory] of Object.entries(part.state)) own[name] = { dtype: 'float32', shape: rule.state[name], data: memory }
  await part.session.run({ ...shared, ...own, gradient: whole(gradients) }, { into: nextOf(own) })
}

function nextOf(own: Readonly<Record<string, NDArray>>): Record<string, NDArray> {
  return Object.fromEntries(Object.entries(own).map(([name, array]) => [`${name}/next`, array]))
}

/** The update of a piece of n elements, or of a whole parameter: reads `NAME`, writes `NAME/next`. */
function updateGraph(rule: ElementwiseOptimizer | MatrixUpdate, { shape }: Parameter): Graph {
  const net = new Net(new Graph('update'))
  const input = (name: string, size: readonly (number | string)[]) => net.input(name, 'float32', size)
  const size = isElementwise(rule) ? ['n'] : matrixShape(shape)
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
