import { openFile } from '#platform'
import type { Progress } from '../base/progress.js'
import type { SampleSet } from '../data/index.js'
import { parseTask, type Task } from '../tasks/index.js'

/** A task with the samples that a model is measured on. */
export interface TaskFile extends SampleSet {
  readonly task: Task
  readonly file: string
}

/**
 * Reads `TASK=FILE`.
 *
 * @throws TinsmithError `usage` for an unknown task; `bad-input` when the file is not what the task needs
 */
export async function openTaskFile(text: string, columns: string | undefined, progress: Progress): Promise<TaskFile> {
  const { task, file } = parseTask(text)
  const { samples, notes } = await task.samples(await openFile(file), { columns })
  for (const note of notes) progress.warn(note)
  return { task, file, samples, notes }
}
