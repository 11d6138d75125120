import { TinsmithError } from '../base/errors.js'
import type { Random } from '../base/random.js'
import { openGraph } from '../engine/open.js'
import type { Feeds, LoadOptions, Session } from '../engine/session.js'
import type { Graph } from '../ir/graph.js'
import type { Value } from '../ir/node.js'
import type { NDArray } from '../numbers/dtype.js'
import { Dropout } from './dropout.js'
import { quantizersAsArithmetic } from './float-quantizers.js'
import type { ResolvedGroup } from './groups.js'
import type { Optimizer } from './optimizers/optimizer.js'
import { linearWeights, type Parameter, ParameterStore } from './parameters.js'
import { type FlatArithmetic, flatArithmetic, flatMemory } from './pieces.js'
import { gradientPrefix, trainingGraph } from './training-graph.js'
import { type Span, Updater } from './updater.js'

export interface TrainingStepOptions extends Pick<LoadOptions, 'threads'> {
  readonly groups: readonly ResolvedGroup[]
  readonly optimizer: Optimizer
  /** Adds the loss to the graph. */
  readonly loss: (graph: Graph) => Value
  readonly stop?: (graph: Graph) => readonly Value[]
  /** Values kept for the backward pass; the rest is computed again. */
  readonly checkpoints?: (graph: Graph) => readonly Value[]
  /** Probability of dropping an element. Default 0. */
  readonly dropout?: number
  /** Largest norm of all gradients together; larger ones are scaled down to it. Default: no limit. */
  readonly clipNorm?: number
}

/** What one step found. */
export interface StepResult {
  readonly loss: number
  /** Of all gradients together, before clipping. */
  readonly gradientNorm: number
}

/** Fake quantization stays float arithmetic: no integer kernels for QuantizeLinear and DequantizeLinear. */
const runtimeSettings = { 'session.disable_quant_qdq': '1' }

/**
 * One step of training as graphs on the engine: forward and backward in one, the update in another. Parameters, gradients and
 * the optimizer's state stay where they are in memory; graphs write over them.
 */
export class TrainingStep {
  readonly store: ParameterStore
  readonly updater: Updater
  readonly #graph: Graph
  readonly #session: Session
  readonly #spans: readonly Span[]
  readonly #arithmetic: FlatArithmetic
  readonly #dropout: Dropout
  readonly #clipNorm: number
  readonly #gradients: Float32Array
  #more: Float32Array | null = null

  private constructor(parts: {
    store: ParameterStore
    updater: Updater
    graph: Graph
    session: Session
    spans: readonly Span[]
    arithmetic: FlatArithmetic
    dropout: Dropout
    clipNorm: number
    gradients: Float32Array
  }) {
    this.store = parts.store
    this.updater = parts.updater
    this.#graph = parts.graph
    this.#session = parts.session
    this.#spans = parts.spans
    this.#arithmetic = parts.arithmetic
    this.#dropout = parts.dropout
    this.#clipNorm = parts.clipNorm
    this.#gradients = parts.gradients
  }

  /** @throws TinsmithError as {@link trainingGraph} */
  static async create(model: Graph, options: TrainingStepOptions): Promise<TrainingStep> {
    const constants = options.groups.flatMap((group) => group.parameters)
    const copy = model.clone()
    const dropout = Dropout.insert(copy, options.dropout ?? 0)
    const { loss, stop, checkpoints } = options
    const graph = trainingGraph(copy, { parameters: constants.map((constant) => constant.name), loss, stop, checkpoints })
    quantizersAsArithmetic(graph)
    const session = await openGraph(graph, { threads: options.threads, memoryPlan: false, machineCode: true, settings: runtimeSettings })
    const store = await ParameterStore.read(constants, flatMemory(session))
    return new TrainingStep({
      store,
      dropout,
      graph,
      session,
      spans: spansOf(options.groups, store),
      gradients: await store.alike(),
      updater: await Updater.create(options.optimizer, store, linearWeights(model)),
      arithmetic: await flatArithmetic(),
      clipNorm: options.clipNorm ?? Number.POSITIVE_INFINITY,
    })
  }

  /** Names of the inputs that a batch must feed. */
  get inputs(): readonly string[] {
    const own = new Set(this.store.entries.map((entry) => entry.name))
    return this.#session.inputs.map((port) => port.name).filter((name) => !own.has(name) && !name.startsWith('dropout/'))
  }

  /** The gradient of a parameter after a step, before clipping; shared memory. */
  gradientOf(parameter: Parameter): NDArray {
    return this.store.view(this.#gradients, parameter)
  }

  /**
   * Gradients of some batches together, then one update.
   *
   * @param step counts from 1
   * @throws TinsmithError `failed` when loss or gradients are not finite, naming the first bad tensor; nothing is updated then
   */
  async run(batches: readonly Feeds[], step: number, learningRate: number, random: Random, signal?: AbortSignal): Promise<StepResult> {
    let loss = 0
    for (const [i, feeds] of batches.entries()) {
      const target = i ? await this.#further() : this.#gradients
      loss += (await this.#backward(feeds, target, random.stream(`batch ${i}`), signal)) / batches.length
      if (i) await this.#arithmetic.add(this.#gradients, target)
    }
    const gradientNorm = (await this.#arithmetic.norm(this.#gradients)) / batches.length
    if (!Number.isFinite(loss) || !Number.isFinite(gradientNorm)) throw this.#notFinite(loss)
    const factor = Math.min(1, this.#clipNorm / (gradientNorm + 1e-6)) / batches.length
    for (const span of this.#spans) await this.updater.update(this.store.values, this.#gradients, span, { step, learningRate }, factor)
    return { loss, gradientNorm }
  }

  async dispose(): Promise<void> {
    await Promise.all([this.#session.dispose(), this.updater.dispose(), this.#arithmetic.dispose()])
  }

  /** Memory for the gradients of batches after the first. */
  async #further(): Promise<Float32Array> {
    this.#more ??= await this.store.alike()
    return this.#more
  }

  async #backward(batch: Feeds, gradients: Float32Array, random: Random, signal?: AbortSignal): Promise<number> {
    const feeds: Record<string, NDArray> = { ...batch, ...this.#dropout.masks(this.#graph, batch, random) }
    const into: Record<string, NDArray> = {}
    for (const entry of this.store.entries) {
      feeds[entry.name] = this.store.view(this.store.values, entry)
      into[gradientPrefix + entry.name] = this.store.view(gradients, entry)
    }
    const wanted = Object.fromEntries(this.#session.inputs.map(({ name }) => [name, feeds[name]]))
    const { loss } = await this.#session.run(wanted, { into, signal })
    const value = (loss.data as Float32Array)[0]
    loss.dispose()
    return value
  }

  #notFinite(loss: number): TinsmithError {
    const bad = (memory: Float32Array) =>
      this.store.entries.find(({ offset, size }) => memory.subarray(offset, offset + size).some((x) => !Number.isFinite(x)))
    const parameter = bad(this.store.values)
    const gradient = bad(this.#gradients)
    const what = parameter ? `the parameter ${parameter.name}` : gradient ? `the gradient of ${gradient.name}` : 'no gradient'
    return new TinsmithError('failed', `The loss is ${loss}, and ${what} is the first that is not finite`, {
      hint: 'A lower learning rate, a longer warm-up or clipNorm: 1 helps most often.',
    })
  }
}

function spansOf(groups: readonly ResolvedGroup[], store: ParameterStore): Span[] {
  let start = 0
  let first = 0
  return groups.map(({ parameters, rate, weightDecay }) => {
    const entries = store.entries.slice(first, first + parameters.length)
    first += parameters.length
    const end = start + entries.reduce((sum, entry) => sum + entry.size, 0)
    const span = { start, end, rate, weightDecay }
    start = end
    return span
  })
}
