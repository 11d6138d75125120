/** Checkpoints of training: everything that a run needs to go on bit by bit as if it had not stopped. */
import { joinPath, namesIn, openFolder, pathKind, removeFolder, writeFolder } from '#platform'
import { readJson, readText, writeFile } from '../base/bytes.js'
import { badInput } from '../base/errors.js'
import { readSafetensors, writeSafetensors } from '../formats/index.js'
import { ArrayTensor } from '../ir/tensor.js'
import type { NDArray } from '../numbers/dtype.js'
import { formatHistory, type History, parseHistory } from './history.js'

/** What a checkpoint says about the run, beside the tensors. */
export interface RunState {
  /** Steps that are done. */
  readonly step: number
  /** What the run depends on (model, data, options), so that a checkpoint of another run is not taken for its own. */
  readonly identity: string
  readonly best: { readonly step: number; readonly metric: number } | null
  /** Evaluations since the best one. */
  readonly patience: number
  /** Lies beside the state as `training.jsonl`. */
  readonly history?: History
}

/** The metrics of a run: a line of JSON for each step. */
export const historyFile = 'training.jsonl'

/** Tensors by the names of their parameters, for each memory: `parameters`, those of the optimizer, `average`, `best`. All float32. */
export type Memories = Readonly<Record<string, ReadonlyMap<string, NDArray>>>

/**
 * Writes a checkpoint as a folder `step-N`, whole or not at all, and then removes older ones.
 *
 * @throws TinsmithError `cannot-write` when the disk is full or refuses; older checkpoints are still there then
 */
export async function saveCheckpoint(folder: string, memories: Memories, state: RunState): Promise<void> {
  const name = `step-${String(state.step).padStart(8, '0')}`
  await writeFolder(joinPath(folder, name), { force: true }, async (target) => {
    for (const [key, memory] of Object.entries(memories)) {
      const tensors = new Map([...memory].map(([parameter, array]) => [parameter, ArrayTensor.of(array)]))
      await writeSafetensors(await target.create(`${key}.safetensors`), tensors)
    }
    const { history, ...facts } = state
    if (history) await writeFile(target, historyFile, formatHistory(history))
    await writeFile(target, 'state.json', JSON.stringify(facts, null, 2))
  })
  for (const other of await checkpointsIn(folder)) if (other !== name) await removeFolder(joinPath(folder, other))
}

/** Names of the checkpoints in a folder, oldest first. */
async function checkpointsIn(folder: string): Promise<string[]> {
  if ((await pathKind(folder)) !== 'folder') return []
  return (await namesIn(folder)).filter((name) => /^step-\d{8}$/.test(name)).sort()
}

/**
 * Fills memories from the newest checkpoint.
 *
 * @param memoriesOf the memories to fill, by what the checkpoint says it holds
 * @returns null when there is none
 * @throws TinsmithError `bad-input` when it belongs to another run or its tensors do not fit
 */
export async function loadCheckpoint(
  folder: string,
  memoriesOf: (state: RunState) => Memories,
  identity: string,
): Promise<RunState | null> {
  const newest = (await checkpointsIn(folder)).at(-1)
  if (!newest) return null
  const where = joinPath(folder, newest)
  const source = await openFolder(where)
  const state = (await readJson(source, 'state.json')) as RunState
  if (state.identity !== identity)
    throw badInput('the checkpoint belongs to another run: model, data or options differ', {
      where,
      hint: 'Choose another folder, or remove it to begin anew.',
    })
  for (const [key, memory] of Object.entries(memoriesOf(state))) {
    const { tensors } = await readSafetensors(await source.open(`${key}.safetensors`))
    for (const [name, { shape, data }] of memory) {
      const tensor = tensors.get(name)
      if (tensor?.shape.join() !== shape.join())
        throw badInput(`${key}.safetensors has no tensor ${name} of shape [${shape.join(', ')}]`, {
          where,
          hint: 'The checkpoint belongs to another model.',
        })
      const target = data as Float32Array
      target.set((await tensor.read()) as Float32Array)
    }
  }
  return (await source.has(historyFile)) ? { ...state, history: parseHistory(await readText(source, historyFile)) } : state
}
