import { type Folder, readText } from '../base/bytes.js'
import { badInput, unsupported } from '../base/errors.js'
import type { Config } from '../ir/model.js'
import type { Tensor } from '../ir/tensor.js'
import { isRecord, parseJson, shorten } from './json.js'
import { readSafetensors } from './safetensors.js'
import { travellingFiles } from './travel.js'

/** A folder as the Hugging Face libraries write it: configuration, weights, tokenizer. */
export interface Checkpoint {
  /** What config.json holds, null where there is none. */
  readonly config: Config | null
  /** By the names that the checkpoint gives them. */
  readonly tensors: ReadonlyMap<string, Tensor>
  readonly folder: Folder
  /** Files that travel along with the model, as {@link travellingFiles} finds them. */
  readonly files: readonly string[]
}

const singleFile = 'model.safetensors'
const indexFile = 'model.safetensors.index.json'

/**
 * Opens a checkpoint in one file or in shards. Only headers are read.
 *
 * @throws TinsmithError `bad-input` naming the file, shard or tensors at fault; `unsupported` where the weights lie in another format
 * @example
 * const { config, tensors } = await openCheckpoint(await openFolder('all-MiniLM-L6-v2'))
 */
export async function openCheckpoint(folder: Folder): Promise<Checkpoint> {
  const present = await folder.list()
  const config = present.includes('config.json') ? await readConfig(folder, 'config.json') : null
  const tensors = await openWeights(folder, present)
  return { config, tensors, folder, files: travellingFiles(present) }
}

/** Whether a folder's files hold weights that {@link openCheckpoint} reads. */
export function holdsCheckpoint(files: readonly string[]): boolean {
  return files.includes(singleFile) || files.includes(indexFile)
}

/** A JSON file that holds an object, such as config.json. Throws `bad-input`. */
export async function readConfig(folder: Folder, path: string): Promise<Config> {
  const where = `${folder.name}/${path}`
  const config = parseJson(await readText(folder, path), where)
  if (!isRecord(config)) throw badInput('this must hold a JSON object', { where })
  return config
}

async function openWeights(folder: Folder, present: readonly string[]): Promise<ReadonlyMap<string, Tensor>> {
  if (present.includes(singleFile)) return (await readSafetensors(await folder.open(singleFile))).tensors
  if (present.includes(indexFile)) return openShards(folder, await readIndex(folder))
  throw withoutWeights(folder, present)
}

function withoutWeights(folder: Folder, present: readonly string[]) {
  const where = folder.name
  if (present.some((file) => /^adapter_(model|config)\./.test(file)))
    return unsupported('this holds an adapter without the model that it adapts', {
      where,
      hint: 'Merge it into its model first (merge_and_unload of peft).',
    })
  const other = present.find((file) => /\.(bin|pth?|h5|msgpack|ckpt)$/.test(file) && !/^(training_args|optimizer|scheduler)/.test(file))
  if (other)
    return unsupported(`the weights lie in ${other}, and Tinsmith reads ${singleFile}`, {
      where,
      hint: 'Save them as safetensors: save_pretrained of the transformers library does, and so does the space safetensors/convert on the hub.',
    })
  return badInput(`there is neither ${singleFile} nor ${indexFile}`, { where, hint: 'Give the folder that holds the weights.' })
}

/** Shard by tensor. */
async function readIndex(folder: Folder): Promise<Map<string, string>> {
  const { weight_map: map } = await readConfig(folder, indexFile)
  const where = `${folder.name}/${indexFile}`
  if (!isRecord(map)) throw badInput('the index has no weight_map', { where })
  const shardOf = new Map<string, string>()
  for (const [tensor, shard] of Object.entries(map)) {
    if (typeof shard !== 'string') throw badInput(`the weight_map names no file for tensor ${shorten(tensor, 200)}`, { where })
    shardOf.set(tensor, shard)
  }
  if (!shardOf.size) throw badInput('the weight_map is empty', { where })
  return shardOf
}

async function openShards(folder: Folder, shardOf: ReadonlyMap<string, string>): Promise<ReadonlyMap<string, Tensor>> {
  const where = `${folder.name}/${indexFile}`
  const shards = [...new Set(shardOf.values())].sort()
  const missing: string[] = []
  for (const shard of shards) if (!(await folder.has(shard))) missing.push(shard)
  if (missing.length)
    throw badInput(`${missing.length} of ${shards.length} shards are missing: ${some(missing)}`, { where, hint: 'Download them again.' })
  const stored = new Map<string, ReadonlyMap<string, Tensor>>()
  for (const shard of shards) stored.set(shard, (await readSafetensors(await folder.open(shard))).tensors)
  const tensors = new Map<string, Tensor>()
  for (const held of stored.values()) for (const [name, tensor] of held) if (!shardOf.has(name)) tensors.set(name, tensor)
  const absent = [...shardOf].filter(([name, shard]) => !stored.get(shard)!.has(name))
  if (absent.length) throw badInput(absentTensors(absent, stored), { where, hint: 'The index belongs to other files.' })
  for (const [name, shard] of shardOf) tensors.set(name, stored.get(shard)!.get(name)!)
  return tensors
}

function absentTensors(absent: readonly [string, string][], stored: ReadonlyMap<string, ReadonlyMap<string, Tensor>>): string {
  const [name, shard] = absent[0]
  const real = [...stored].find(([, held]) => held.has(name))?.[0]
  if (real) return `the index says that tensor ${shorten(name, 200)} lies in ${shard}, but it lies in ${real}`
  return `${absent.length} of the index's tensors are missing in the shards: ${some(absent.map(([tensor, file]) => `${tensor} (${file})`))}`
}

/** The first few of a list. */
function some(items: readonly string[]): string {
  const shown = items.slice(0, 5).map((item) => shorten(item, 200))
  return shown.join(', ') + (items.length > shown.length ? ` and ${items.length - shown.length} more` : '')
}
