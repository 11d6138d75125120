import { openFile } from '#platform'
import type { Pipeline } from '../pipelines/index.js'
import type { Rate } from '../report/index.js'
import { agreement, type Evaluation, type EvaluateOptions as TaskOptions } from '../tasks/index.js'
import { type CommandOptions, WarningKeeper } from './context.js'
import { type LoadedModel, type LoadOptions, loadModel } from './load.js'
import { measureRates } from './measure.js'
import { openTaskFile, type TaskFile } from './task-file.js'

export interface EvaluateOptions extends LoadOptions {
  /** The original, to be measured beside. */
  readonly against?: string
  /** Which columns of a table hold what: `text=0,label=2`. */
  readonly columns?: string
  /** language-model: tokens of the text that are scored. Default: all. */
  readonly tokens?: number
  /** language-model: tokens of a window. */
  readonly window?: number
}

/** What a model reaches, and at what size and speed. */
export interface Measured {
  readonly model: string
  readonly metrics: Readonly<Record<string, number>>
  readonly bytes: number
  readonly rate: Rate
}

export interface EvaluateResult {
  readonly task: string
  readonly file: string
  readonly samples: number
  readonly metrics: Readonly<Record<string, number>>
  /** What the same metrics are without any model (the majority class). */
  readonly baseline: Readonly<Record<string, number>>
  readonly seconds: number
  readonly engine: string
  readonly dtype: string
  readonly bytes: number
  /** With an original: how far the model agrees with it, both speeds measured in turn, and their ratio. */
  readonly against?: Measured & { readonly agreement: Readonly<Record<string, number>>; readonly ownRate: Rate; readonly ratio: number }
  readonly warnings: readonly string[]
}

/**
 * Measures a model on a task.
 *
 * @param text `TASK=FILE`
 * @throws TinsmithError `usage` for an unknown task; `bad-input` when model or file are not what they must be
 * @example
 * (await evaluate('out', 'sts=dev.csv', { against: 'all-MiniLM-L6-v2' })).metrics.spearman
 */
export async function evaluate(model: string, text: string, options: EvaluateOptions = {}): Promise<EvaluateResult> {
  const progress = new WarningKeeper(options.progress)
  const taskFile = await openTaskFile(text, options.columns, progress)
  const { engine = 'ort' } = options
  const loaded = await loadModel(model, { ...options, engine, progress })
  try {
    const start = performance.now()
    const found = await evaluateOn(loaded.pipeline, taskFile, { ...options, progress })
    const seconds = (performance.now() - start) / 1e3
    if (loaded.dtype !== 'fp32' && !options.against) progress.warn('the float original was not measured; name it with --against')
    const against = options.against ? await measureAgainst(loaded, options.against, taskFile, { ...options, progress }) : undefined
    return {
      task: taskFile.task.name,
      file: taskFile.file,
      samples: found.samples,
      metrics: found.metrics,
      baseline: found.baselines,
      seconds,
      engine: loaded.engine,
      dtype: loaded.dtype,
      bytes: loaded.bytes,
      ...(against ? { against } : {}),
      warnings: progress.warnings,
    }
  } finally {
    await loaded.pipeline.dispose()
  }
}

/** Scores a pipeline on the samples of a task. */
export function evaluateOn(pipeline: Pipeline, { task, samples }: TaskFile, options: TaskOptions): Promise<Evaluation> {
  const { progress, signal, tokens, window } = options
  return task.evaluate(pipeline, samples, { progress, signal, tokens, window })
}

type AgainstOptions = Pick<EvaluateOptions, 'engine' | 'tokens' | 'window' | 'columns'> & CommandOptions

async function measureAgainst(loaded: LoadedModel, original: string, taskFile: TaskFile, options: AgainstOptions) {
  const { engine = 'ort', progress, signal, tokens, window } = options
  const other = await loadModel(original, { engine, progress, signal })
  try {
    const { metrics } = await evaluateOn(other.pipeline, taskFile, { progress, signal, tokens, window })
    const agreed = await agreementOf(other.pipeline, loaded.pipeline, taskFile, options)
    const [own, theirs] = await measureRates([loaded.pipeline, other.pipeline], taskFile.samples, { progress, signal })
    return { model: original, metrics, bytes: other.bytes, rate: theirs, agreement: agreed, ownRate: own, ratio: own.value / theirs.value }
  } finally {
    await other.pipeline.dispose()
  }
}

/** How far a model gives what its original gives; nothing for models of which that is not measured. */
export async function agreementOf(
  original: Pipeline,
  compressed: Pipeline,
  { file, samples: own }: TaskFile,
  { columns, progress, signal, tokens, window }: AgainstOptions,
): Promise<Readonly<Record<string, number>>> {
  if (!['embed', 'classify', 'classify-images', 'generate'].includes(original.kind)) return {}
  const images = original.kind === 'classify-images'
  const { samples } = images ? { samples: own } : await agreement.samples(await openFile(file), original, { columns })
  return (await agreement.evaluate(original, compressed, samples, { progress, signal, tokens, window })).metrics
}
