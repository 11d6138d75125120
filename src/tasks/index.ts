import { didYouMean, usage } from '../base/errors.js'
import { classification } from './classification.js'
import { imageClassification } from './image-classification.js'
import { languageModel } from './language-model.js'
import { sts } from './sts.js'
import type { Task } from './task.js'
import { tokenClassification } from './token-classification.js'

export { agreement } from './agreement.js'
export { expectedLabels } from './classification.js'
export { tokenWindows, windowLogits, windowLoss } from './language-model.js'
export { accuracy, type BootstrapOptions, bootstrapInterval, f1, macroF1, majority, mean, pearson, ranks, spearman } from './metrics.js'
export type { EvaluateOptions, Evaluation, SampleOptions, Task } from './task.js'
export { spanF1 } from './token-classification.js'
export { classification, imageClassification, languageModel, sts, tokenClassification }

/** All tasks that measure one model, by name. */
export const tasks: ReadonlyMap<string, Task> = new Map(
  [sts, classification, tokenClassification, languageModel, imageClassification].map((task): [string, Task] => [task.name, task]),
)

/**
 * A task and its file as the command line says them.
 *
 * @throws TinsmithError `usage` for another form or an unknown task
 * @example
 * parseTask('sts=dev.csv') // { task: sts, file: 'dev.csv' }
 */
export function parseTask(text: string): { task: Task; file: string } {
  const at = text.indexOf('=')
  const [name, file] = at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)]
  const task = tasks.get(name)
  if (!task) throw usage(`there is no task "${name}"`, { hint: didYouMean(name, [...tasks.keys()]) })
  if (!file) throw usage(`the task ${name} needs a file`, { hint: `Write ${name}=FILE.` })
  return { task, file }
}
