import { openFile, openFolder, pathKind, splitPath } from '#platform'
import { usage } from '../base/errors.js'
import type { Progress } from '../base/progress.js'
import type { Sample, SampleSet } from '../data/index.js'
import { parseTask, type Task } from '../tasks/index.js'

/** A task with the samples that a model is measured on. */
export interface TaskFile extends SampleSet<Sample> {
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
  const { samples, notes } = await samplesAt(task, file, columns)
  for (const note of notes) progress.warn(note)
  return { task, file, samples, notes }
}

/** The samples in a file, or in a folder where the task takes one. */
async function samplesAt(task: Task, path: string, columns: string | undefined): Promise<SampleSet<Sample>> {
  if ((await pathKind(path)) !== 'folder') {
    const folder = task.samplesIn && (await openFolder(splitPath(path).folder))
    return task.samples(await openFile(path), { columns, folder })
  }
  if (task.samplesIn) return task.samplesIn(await openFolder(path))
  throw usage(`the task ${task.name} needs a file, and ${path} is a folder`)
}
