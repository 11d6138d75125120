import { type Folder, readJson } from '../base/bytes.js'
import { badInput, unsupported } from '../base/errors.js'
import { readSafetensors } from '../formats/index.js'
import type { Config } from '../ir/index.js'
import { type NDArray, numbersOf } from '../numbers/dtype.js'
import { readObject } from './tokenizer.js'

/** How the vectors of a text's tokens become one. */
export type PoolingMode = 'cls' | 'max' | 'mean' | 'mean-sqrt-length' | 'weighted-mean' | 'last-token'

/** A linear layer after pooling. */
export interface DenseLayer {
  /** [out, in] */
  readonly weight: NDArray
  /** [out] */
  readonly bias?: NDArray
  readonly activation: 'identity' | 'tanh'
}

/** From token vectors to a text's vector. */
export interface Pooling {
  /** Several are put one after the other. */
  readonly modes: readonly PoolingMode[]
  readonly dense: readonly DenseLayer[]
  /** Scale to length 1 at the end. */
  readonly normalize: boolean
}

/** What feature extraction does where a model's folder says nothing. */
export const defaultPooling: Pooling = { modes: ['mean'], dense: [], normalize: true }

/** By the flags of 1_Pooling/config.json, in the order in which their vectors are put together. */
const modeFlags: readonly (readonly [string, PoolingMode])[] = [
  ['pooling_mode_cls_token', 'cls'],
  ['pooling_mode_max_tokens', 'max'],
  ['pooling_mode_mean_tokens', 'mean'],
  ['pooling_mode_mean_sqrt_len_tokens', 'mean-sqrt-length'],
  ['pooling_mode_weightedmean_tokens', 'weighted-mean'],
  ['pooling_mode_lasttoken', 'last-token'],
]

/** By the words of newer files' `pooling_mode`. */
const modeWords: Readonly<Record<string, PoolingMode>> = {
  cls: 'cls',
  max: 'max',
  mean: 'mean',
  mean_sqrt_len_tokens: 'mean-sqrt-length',
  weightedmean: 'weighted-mean',
  lasttoken: 'last-token',
}

/**
 * The pooling that modules.json and its folders describe (sentence-transformers); {@link defaultPooling} without it.
 *
 * @throws TinsmithError `unsupported` for a kind of module that is not known; `bad-input` for files that are not what
 * they must be
 */
export async function readPooling(folder: Folder): Promise<Pooling> {
  if (!(await folder.has('modules.json'))) return defaultPooling
  const modules = await readJson(folder, 'modules.json')
  if (!Array.isArray(modules)) throw badInput('this is no list of modules', { where: `${folder.name}/modules.json` })
  let pooling: Pooling = { modes: [], dense: [], normalize: false }
  for (const { type, path } of modules as { type?: unknown; path?: unknown }[])
    pooling = await addModule(pooling, folder, String(type).split('.').at(-1)!, String(path ?? ''))
  return pooling.modes.length ? pooling : { ...pooling, modes: ['mean'] }
}

async function addModule(pooling: Pooling, folder: Folder, kind: string, path: string): Promise<Pooling> {
  switch (kind) {
    case 'Transformer':
    case 'Dropout':
      return pooling
    case 'Pooling':
      return { ...pooling, modes: poolingModes(await readObject(folder, `${path}/config.json`), `${folder.name}/${path}/config.json`) }
    case 'Dense':
      return { ...pooling, dense: [...pooling.dense, await readDense(folder, path)] }
    case 'Normalize':
      return { ...pooling, normalize: true }
  }
  throw unsupported(`the module ${kind} is not known`, {
    where: `${folder.name}/modules.json`,
    hint: 'Known: Transformer, Pooling, Dense, Dropout, Normalize.',
  })
}

/**
 * The modes that a pooling module's config.json switches on.
 *
 * @throws TinsmithError `bad-input` when it names none
 */
export function poolingModes(config: Config, where: string): PoolingMode[] {
  const words = [config['pooling_mode'] ?? []].flat().map(String)
  const modes = words.length
    ? words.map((word) => modeWords[word])
    : modeFlags.filter(([flag]) => config[flag] === true).map(([, mode]) => mode)
  if (!modes.length || modes.includes(undefined as never)) throw badInput('this names no known pooling mode', { where })
  return modes
}

async function readDense(folder: Folder, path: string): Promise<DenseLayer> {
  const config = await readObject(folder, `${path}/config.json`)
  const activation = String(config['activation_function'] ?? 'Identity')
    .split('.')
    .at(-1)
  if (activation !== 'Identity' && activation !== 'Tanh')
    throw unsupported(`the activation ${activation} of ${path} is not known`, { where: folder.name })
  const { tensors } = await readSafetensors(await folder.open(`${path}/model.safetensors`))
  const weight = tensors.get('linear.weight')
  if (!weight) throw badInput('the tensor linear.weight is missing', { where: `${folder.name}/${path}/model.safetensors` })
  return {
    weight: await weight.array(),
    bias: await tensors.get('linear.bias')?.array(),
    activation: activation === 'Tanh' ? 'tanh' : 'identity',
  }
}

/**
 * One vector a text from the vectors of its tokens.
 *
 * @param hidden float [batch, length, width]
 * @param mask [batch, length], 0 for padding
 * @returns batch vectors; width times the number of modes, or as the last dense layer has it
 */
export function pool(hidden: NDArray, mask: NDArray, pooling: Pooling): Float32Array[] {
  const [batch, length, width] = hidden.shape
  const data = numbersOf(hidden)
  return Array.from({ length: batch }, (_, row) => {
    const tokens: Float64Array[] = []
    for (let at = row * length; at < (row + 1) * length; at++)
      if (Number(mask.data[at])) tokens.push(Float64Array.from(data.subarray(at * width, (at + 1) * width)))
    const vectors = pooling.modes.map((mode) => poolers[mode](tokens, width))
    const joined = vectors.length === 1 ? vectors[0] : Float64Array.from(vectors.flatMap((vector) => [...vector]))
    const projected = pooling.dense.reduce(applyDense, joined)
    return Float32Array.from(pooling.normalize ? normalized(projected) : projected)
  })
}

const poolers: Readonly<Record<PoolingMode, (tokens: readonly Float64Array[], width: number) => Float64Array>> = {
  cls: (tokens, width) => tokens[0] ?? new Float64Array(width),
  'last-token': (tokens, width) => tokens.at(-1) ?? new Float64Array(width),
  max: (tokens, width) =>
    Float64Array.from({ length: width }, (_, i) => tokens.reduce((most, token) => Math.max(most, token[i]), Number.NEGATIVE_INFINITY)),
  mean: (tokens, width) => weightedSum(tokens, width, () => 1 / Math.max(1, tokens.length)),
  'mean-sqrt-length': (tokens, width) => weightedSum(tokens, width, () => 1 / Math.sqrt(Math.max(1, tokens.length))),
  'weighted-mean': (tokens, width) =>
    weightedSum(tokens, width, (position) => (2 * (position + 1)) / (tokens.length * (tokens.length + 1))),
}

function weightedSum(tokens: readonly Float64Array[], width: number, weightOf: (position: number) => number): Float64Array {
  const sum = new Float64Array(width)
  tokens.forEach((token, position) => {
    const weight = weightOf(position)
    for (let i = 0; i < width; i++) sum[i] += weight * token[i]
  })
  return sum
}

function applyDense(vector: Float64Array, { weight, bias, activation }: DenseLayer): Float64Array {
  const [rows, columns] = weight.shape
  const [weights, biases] = [numbersOf(weight), bias && numbersOf(bias)]
  return Float64Array.from({ length: rows }, (_, row) => {
    let sum = biases?.[row] ?? 0
    for (let i = 0; i < columns; i++) sum += weights[row * columns + i] * vector[i]
    return activation === 'tanh' ? Math.tanh(sum) : sum
  })
}

function normalized(vector: Float64Array): Float64Array {
  const norm = Math.hypot(...vector)
  return vector.map((x) => x / Math.max(norm, 1e-12))
}
