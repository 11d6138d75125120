import { runtime } from '#engine'
import { badInput, TinsmithError, throwIfAborted } from '../base/errors.js'
import { type Progress, SilentProgress } from '../base/progress.js'
import { Random } from '../base/random.js'
import { sparkline } from '../base/sparkline.js'
import type { Feeds, Output } from '../engine/session.js'
import type { Graph } from '../ir/graph.js'
import type { Value } from '../ir/node.js'
import { Net } from '../nn/net.js'
import { sizeOf } from '../numbers/dtype.js'
import { BatchOrder } from './batches.js'
import { loadCheckpoint, type Memories, saveCheckpoint } from './checkpoint.js'
import { type ParameterGroup, type ResolvedGroup, resolveGroups } from './groups.js'
import type { EvaluationRecord, StepRecord } from './history.js'
import { MovingAverage } from './moving-average.js'
import type { Objective } from './objective.js'
import type { Optimizer } from './optimizers/optimizer.js'
import { isWeight } from './parameters.js'
import type { Schedule } from './schedules.js'
import { TrainingStep } from './training-step.js'

/** What a run of training is told. */
export interface TrainOptions {
  /** Updates. */
  readonly steps: number
  /** Samples of a forward and backward pass. */
  readonly batchSize: number
  /** Of each sample, in any unit: batches are then made of samples of similar length. Default: batches of any. */
  readonly lengths?: readonly number[]
  /** Passes before an update. Default 1. */
  readonly accumulate?: number
  readonly learningRate: number
  readonly schedule: Schedule
  readonly optimizer: Optimizer
  /** Of matrices. Default 0. */
  readonly weightDecay?: number
  readonly groups?: readonly ParameterGroup[]
  /** Names of constants that are no weights and are trained all the same (scales of quantizers). */
  readonly extra?: readonly string[]
  readonly clipNorm?: number
  readonly dropout?: number
  /** Decay of a moving average of the parameters, which is what evaluations and the result use. Default: none. */
  readonly average?: number
  readonly seed: number
  /** Values kept for the backward pass; the rest is computed again. */
  readonly checkpoints?: (graph: Graph) => readonly Value[]
  readonly threads?: number
}

/** Milliseconds between checkpoints unless steps are given: what a run that is killed loses at most. */
const savingInterval = 60_000

/** Where a run keeps its state, what watches it, and when it stops early. */
export interface TrainHooks {
  readonly progress?: Progress
  readonly signal?: AbortSignal
  /** Called after each step. */
  readonly onStep?: (record: StepRecord) => void | Promise<void>
  readonly onEvaluation?: (record: EvaluationRecord) => void | Promise<void>
  /** Folder for checkpoints; a run that finds its own there goes on from it. */
  readonly folder?: string
  /** What the run depends on, as a hash; a checkpoint of another run is refused. */
  readonly identity?: string
  /** Steps between checkpoints. Default: one a minute. */
  readonly saveEvery?: number
  /** Measures the graph with the present parameters. */
  readonly evaluate?: (graph: Graph) => Promise<Readonly<Record<string, number>>>
  /** Steps between evaluations. Default: at the end only. */
  readonly evaluateEvery?: number
  /** The metric that decides which parameters are kept, and which way is better. */
  readonly main?: { readonly metric: string; readonly better: 'higher' | 'lower' }
  /** Evaluations without a better one after which training stops. */
  readonly patience?: number
}

/** Parameters that were trained with the same settings. */
export interface TrainedGroup {
  /** Names of a few, in the order of the model. */
  readonly examples: readonly string[]
  readonly tensors: number
  readonly parameters: number
  /** Factor on the learning rate. */
  readonly rate: number
  readonly weightDecay: number
}

/** What a run found. */
export interface TrainResult {
  readonly groups: readonly TrainedGroup[]
  readonly steps: readonly StepRecord[]
  readonly evaluations: readonly EvaluationRecord[]
  /** The step whose parameters the graph now has. */
  readonly best: number
}

/**
 * Trains the parameters of a graph, in place: at the end it holds the best parameters by `hooks.main`, else the last.
 *
 * @throws TinsmithError `bad-input` for data smaller than a batch, groups that match nothing, a loss that does not reach the
 * parameters; `failed` when numbers stop being finite (step, samples and tensor named; the last checkpoint stays as it is);
 * `interrupted`
 * @example
 * await train(model.graph, objective, samples, { steps: 100, batchSize: 8, learningRate: 1e-3, schedule: schedule('cosine'), optimizer: adamW(), seed: 1 })
 */
export async function train<Sample>(
  graph: Graph,
  objective: Objective<Sample>,
  samples: readonly Sample[],
  options: TrainOptions,
  hooks: TrainHooks = {},
): Promise<TrainResult> {
  const run = await Run.begin(graph, objective, samples, options, hooks)
  try {
    return await run.toEnd()
  } finally {
    await run.dispose()
    await objective.dispose?.()
  }
}

/** Steps that are looked at for the curve, which long runs draw more seldom. */
const curvePoints = 1000

class Run<Sample> {
  readonly #graph: Graph
  readonly #objective: Objective<Sample>
  readonly #samples: readonly Sample[]
  readonly #options: TrainOptions
  readonly #hooks: TrainHooks
  readonly #order: BatchOrder
  readonly #step: TrainingStep
  readonly #average: MovingAverage | null
  readonly #groups: readonly TrainedGroup[]
  readonly #random: Random
  readonly #steps: StepRecord[] = []
  readonly #evaluations: EvaluationRecord[] = []
  #best: { step: number; metric: number; parameters: Float32Array } | null = null
  #done = 0
  #waiting = 0
  #savedAt = performance.now()
  /** The step of the newest checkpoint. */
  #saved: number | null = null

  private constructor(
    graph: Graph,
    objective: Objective<Sample>,
    samples: readonly Sample[],
    options: TrainOptions,
    hooks: TrainHooks,
    order: BatchOrder,
    step: TrainingStep,
    average: MovingAverage | null,
    groups: readonly TrainedGroup[],
  ) {
    this.#groups = groups
    this.#graph = graph
    this.#objective = objective
    this.#samples = samples
    this.#options = options
    this.#hooks = hooks
    this.#order = order
    this.#step = step
    this.#average = average
    this.#random = new Random(options.seed)
  }

  static async begin<Sample>(
    graph: Graph,
    objective: Objective<Sample>,
    samples: readonly Sample[],
    options: TrainOptions,
    hooks: TrainHooks,
  ): Promise<Run<Sample>> {
    const order = new BatchOrder(samples.length, options.batchSize, options.seed, options.lengths)
    objective.check?.(samples)
    const parameters = trainedParameters(graph, objective, options.extra ?? [])
    const { average, optimizer, dropout, clipNorm, threads, checkpoints } = options
    const groups = resolveGroups(parameters, options.groups ?? [], options.weightDecay ?? 0)
    const step = await TrainingStep.create(graph, {
      groups,
      optimizer,
      loss: (copy) => objective.loss(new Net(copy)),
      stop: objective.stop && ((copy) => objective.stop!(new Net(copy))),
      dropout,
      clipNorm,
      threads,
      checkpoints,
    })
    const moving = average ? await MovingAverage.create(step.store, average) : null
    const run = new Run(graph, objective, samples, options, hooks, order, step, moving, groups.map(describedGroup))
    await run.#resume()
    return run
  }

  async toEnd(): Promise<TrainResult> {
    const { steps } = this.#options
    const stage = (this.#hooks.progress ?? new SilentProgress()).stage('train', steps)
    stage.advance(this.#done)
    try {
      while (this.#done < steps && !this.#isSettled()) {
        await this.#once()
        stage.advance(1)
        if (this.#done % Math.ceil(this.#steps.length / curvePoints) === 0) stage.note?.(this.#curve())
        if (this.#due(this.#hooks.evaluateEvery)) await this.#evaluate()
        if (this.#shouldSave()) await this.#save()
      }
    } finally {
      stage.end()
    }
    if (this.#evaluations.at(-1)?.step !== this.#done) await this.#evaluate()
    this.#step.store.writeTo(this.#graph, this.#best?.parameters ?? this.#current)
    return { groups: this.#groups, steps: this.#steps, evaluations: this.#evaluations, best: this.#best?.step ?? this.#done }
  }

  async dispose(): Promise<void> {
    await Promise.all([this.#step.dispose(), this.#average?.dispose()])
  }

  /** The parameters that count: the averaged ones where there is an average. */
  get #current(): Float32Array {
    return this.#average?.values ?? this.#step.store.values
  }

  #due(every: number | undefined): boolean {
    return every !== undefined && this.#done % every === 0
  }

  #shouldSave(): boolean {
    const { saveEvery } = this.#hooks
    return saveEvery === undefined ? performance.now() - this.#savedAt > savingInterval : this.#due(saveEvery)
  }

  #isSettled(): boolean {
    return this.#hooks.patience !== undefined && this.#waiting >= this.#hooks.patience
  }

  async #once(): Promise<void> {
    throwIfAborted(this.#hooks.signal)
    const { accumulate = 1, learningRate, schedule, steps } = this.#options
    const [start, copied] = [performance.now(), runtime.copiedBytes]
    const random = this.#random.stream(`step ${this.#done}`)
    const passes = Array.from({ length: accumulate }, (_, i) => this.#order.at(this.#done * accumulate + i))
    const rate = learningRate * schedule(this.#done, steps)
    const feeds: Feeds[] = []
    for (const [i, rows] of passes.entries())
      feeds.push(
        await this.#objective.batch(
          rows.map((row) => this.#samples[row]),
          random.stream(`samples ${i}`),
        ),
      )
    const { loss, gradientNorm } = await this.#step
      .run(feeds, this.#done + 1, rate, random, this.#hooks.signal)
      .catch((error) => this.#failed(error, passes))
      .finally(() => release(feeds))
    await this.#average?.update(this.#step.store.values)
    this.#done++
    const [seconds, copiedBytes] = [(performance.now() - start) / 1000, runtime.copiedBytes - copied]
    const record = { step: this.#done, loss, gradientNorm, learningRate: rate, seconds, copiedBytes }
    this.#steps.push(record)
    await this.#hooks.onStep?.(record)
  }

  /** The latest loss behind the curve of all. */
  #curve(): string {
    const losses = this.#steps.map((record) => record.loss)
    return losses.length ? `loss ${sparkline(losses, 20)} ${losses.at(-1)!.toPrecision(3)}` : ''
  }

  /** Says at which step and samples it was. The parameters that led there are not saved over the last good ones. */
  #failed(error: unknown, passes: readonly (readonly number[])[]): never {
    if (!(error instanceof TinsmithError) || error.code !== 'failed') throw error
    const rows = passes.flat().slice(0, 8).join(', ')
    const kept = this.#saved === null ? '' : `; the checkpoint after step ${this.#saved} is kept`
    throw new TinsmithError(
      'failed',
      `Step ${this.#done + 1} (samples ${rows}${passes.flat().length > 8 ? ' ...' : ''}): ${error.message}${kept}`,
      { hint: error.hint, cause: error },
    )
  }

  async #evaluate(): Promise<void> {
    const { evaluate, main } = this.#hooks
    if (!evaluate) return
    this.#step.store.writeTo(this.#graph, this.#current)
    const metrics = await evaluate(this.#graph)
    const record = { step: this.#done, metrics }
    this.#evaluations.push(record)
    await this.#hooks.onEvaluation?.(record)
    if (!main) return
    const metric = metrics[main.metric]
    if (metric === undefined)
      throw badInput(`the evaluation gives no ${main.metric}`, { hint: `It gives ${Object.keys(metrics).join(', ')}.` })
    const better = !this.#best || (main.better === 'higher' ? metric > this.#best.metric : metric < this.#best.metric)
    this.#waiting = better ? 0 : this.#waiting + 1
    if (better) this.#best = { step: this.#done, metric, parameters: this.#current.slice() }
  }

  /** Everything that changes from step to step. */
  #memories(best: Float32Array | undefined = this.#best?.parameters): Memories {
    const { store, updater } = this.#step
    const flat = { parameters: store.values, ...(this.#average && { average: this.#average.values }), ...(best && { best }) }
    return { ...updater.state, ...Object.fromEntries(Object.entries(flat).map(([name, memory]) => [name, store.views(memory)])) }
  }

  async #save(): Promise<void> {
    const { folder, identity = '' } = this.#hooks
    if (!folder) return
    const best = this.#best && { step: this.#best.step, metric: this.#best.metric }
    await saveCheckpoint(folder, this.#memories(), {
      step: this.#done,
      identity,
      best,
      patience: this.#waiting,
      history: { steps: this.#steps, evaluations: this.#evaluations },
    })
    this.#saved = this.#done
    this.#savedAt = performance.now()
  }

  async #resume(): Promise<void> {
    const { folder, identity = '' } = this.#hooks
    if (!folder) return
    const best = new Float32Array(this.#step.store.size)
    const state = await loadCheckpoint(folder, (found) => this.#memories(found.best ? best : undefined), identity)
    if (!state) return
    this.#done = this.#saved = state.step
    this.#waiting = state.patience
    for (const record of state.history?.steps ?? []) this.#steps.push(record)
    for (const record of state.history?.evaluations ?? []) this.#evaluations.push(record)
    if (state.best) this.#best = { ...state.best, parameters: best }
  }
}

function describedGroup({ parameters, rate, weightDecay }: ResolvedGroup): TrainedGroup {
  const count = parameters.reduce((sum, { shape }) => sum + sizeOf(shape as readonly number[]), 0)
  return { examples: parameters.slice(0, 3).map(({ name }) => name), tensors: parameters.length, parameters: count, rate, weightDecay }
}

/** Frees what lies in the engine's memory (a teacher's outputs) now instead of some time later. */
function release(batches: readonly Feeds[]): void {
  for (const array of batches.flatMap((feeds) => Object.values(feeds))) if ('dispose' in array) (array as Output).dispose()
}

/** The weights that the loss depends on: the model's, then the objective's own. */
function trainedParameters<Sample>(graph: Graph, objective: Objective<Sample>, extra: readonly string[]): Value[] {
  const probe = graph.clone()
  const loss = objective.loss(new Net(probe))
  probe.outputs.splice(0, probe.outputs.length, loss)
  probe.prune()
  const needed = [...graph.constants.values()].filter(
    (constant) => (isWeight(constant) || extra.includes(constant.name)) && probe.constants.has(constant.name),
  )
  if (!needed.length) throw badInput('the loss depends on no float parameter of the model')
  return [...needed, ...(objective.parameters ?? []).flatMap((name) => probe.constants.get(name) ?? [])]
}
