import type { ByteSource, Folder } from '../base/bytes.js'
import type { Progress } from '../base/progress.js'
import type { Sample, SampleSet } from '../data/index.js'
import type { Pipeline } from '../pipelines/index.js'

export interface SampleOptions {
  /** Which columns hold what: `text=0,label=2`. Default by the file. */
  readonly columns?: string
  /** Where the files lie that a table names. */
  readonly folder?: Folder
}

export interface EvaluateOptions {
  readonly progress?: Progress
  readonly signal?: AbortSignal
  /** Samples that run together. Default as the task has it. */
  readonly batchSize?: number
  /** language-model: tokens of the text that are scored. Default: all. */
  readonly tokens?: number
  /** language-model: tokens of a window. Default 512, or the model's limit where that is less. */
  readonly window?: number
}

/** What an evaluation found. */
export interface Evaluation {
  /** Samples that were scored; windows of text for `language-model`. */
  readonly samples: number
  /** By name. Correlations, accuracies and F1 are in percent. */
  readonly metrics: Readonly<Record<string, number>>
  /** What the same metrics are without any model (the majority class), by name; empty where there is no such thing. */
  readonly baselines: Readonly<Record<string, number>>
}

/** What a model is for: how samples are read and what is measured on them. */
export interface Task<S extends Sample = Sample> {
  readonly name: string
  readonly summary: string
  /** The metric that says how good a model is at the task, and which way is better. */
  readonly main: { readonly metric: string; readonly better: 'higher' | 'lower' }
  /** @throws TinsmithError `bad-input` with the line and what is expected when the file is not what the task needs */
  samples(source: ByteSource, options?: SampleOptions): Promise<SampleSet<S>>
  /** The samples of a folder of files, for tasks that take one. */
  samplesIn?(folder: Folder): Promise<SampleSet<S>>
  /** @throws TinsmithError `bad-input` when the model cannot do the task; `interrupted` when the signal fires */
  evaluate(pipeline: Pipeline, samples: readonly S[], options?: EvaluateOptions): Promise<Evaluation>
}

/** Runs work as a stage of the progress, which ends with it. */
export async function inStage<T>(
  progress: Progress | undefined,
  name: string,
  total: number,
  work: (advance: (by: number) => void) => Promise<T>,
): Promise<T> {
  const stage = progress?.stage(name, total)
  try {
    return await work((by) => stage?.advance(by))
  } finally {
    stage?.end()
  }
}
