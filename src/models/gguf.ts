import { badInput, didYouMean, unsupported } from '../base/errors.js'
import type { Gguf } from '../formats/gguf.js'
import { GgufMetadata } from '../formats/gguf-metadata.js'
import type { GgufTensor } from '../formats/gguf-tensor.js'
import type { Config } from '../ir/model.js'
import type { Tensor } from '../ir/tensor.js'

/** What an architecture's GGUF files say. */
export interface GgufSource {
  readonly metadata: GgufMetadata
  /** By llama.cpp's names. */
  readonly tensors: Gguf['tensors']
  /** The key of a property of the architecture: `key('block_count')` is `llama.block_count`. */
  key(name: string): string
}

/** How llama.cpp keeps an architecture: the way back to config.json and to the names of the checkpoint. */
export interface GgufForm {
  /** `general.architecture` of its files. */
  readonly architecture: string
  /** Modules of the checkpoint by llama.cpp's names; `#` stands for the layer. */
  readonly modules: Readonly<Record<string, string>>
  /** The keys of config.json that the graph depends on. */
  config(source: GgufSource): Promise<Config>
  /** Undoes what llama.cpp's converter does to some weights; `module` is llama.cpp's name with `#`. */
  readonly restore?: (module: string, tensor: GgufTensor, config: Config) => Tensor
}

/** A checkpoint as the Hugging Face libraries would have it. */
export interface RestoredCheckpoint {
  readonly config: Config
  /** By checkpoint names; tensors that no module is known for keep llama.cpp's. */
  readonly tensors: ReadonlyMap<string, Tensor>
}

/** Divisors of rotary frequencies: a property of the model that llama.cpp keeps as a tensor. */
export const rotaryFactors = 'rope_freqs.weight'

/**
 * The checkpoint that a GGUF file was made from.
 *
 * @throws TinsmithError `bad-input` for an unknown architecture (the nearest is named) and for metadata that are absent or wrong (named)
 */
export async function restoreCheckpoint({ name, metadata, tensors }: Gguf, forms: readonly GgufForm[]): Promise<RestoredCheckpoint> {
  const reader = new GgufMetadata({ name, metadata })
  const architecture = reader.text('general.architecture')
  const form = forms.find((candidate) => candidate.architecture === architecture)
  if (!form)
    throw badInput(`the architecture "${architecture}" is not known in GGUF files`, {
      where: name,
      hint: didYouMean(
        architecture,
        forms.map((known) => known.architecture),
      ),
    })
  const config = await form.config({ metadata: reader, tensors, key: (property) => `${architecture}.${property}` })
  const restored = new Map<string, Tensor>()
  for (const [path, tensor] of tensors) {
    if (path === rotaryFactors) continue
    const { module, layer, parameter } = partsOf(path)
    const known = form.modules[module]
    if (known === undefined) restored.set(path, tensor)
    else restored.set(`${known.replace('#', layer)}.${parameter}`, form.restore?.(module, tensor, config) ?? tensor)
  }
  return { config, tensors: restored }
}

/** `blk.3.attn_q.weight` is the `weight` of `blk.#.attn_q` in layer 3. */
function partsOf(path: string): { module: string; layer: string; parameter: string } {
  const [, layer = ''] = /^blk\.(\d+)\./.exec(path) ?? []
  const dot = path.lastIndexOf('.')
  return { module: path.slice(0, dot).replace(/^blk\.\d+\./, 'blk.#.'), layer, parameter: path.slice(dot + 1) }
}

/** Modules of decoders with RMSNorm, rotary positions and a gated feed-forward, by llama.cpp's names. */
export const rotaryDecoderModules: GgufForm['modules'] = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
  'blk.#.attn_norm': 'model.layers.#.input_layernorm',
  'blk.#.attn_q': 'model.layers.#.self_attn.q_proj',
  'blk.#.attn_k': 'model.layers.#.self_attn.k_proj',
  'blk.#.attn_v': 'model.layers.#.self_attn.v_proj',
  'blk.#.attn_output': 'model.layers.#.self_attn.o_proj',
  'blk.#.ffn_norm': 'model.layers.#.post_attention_layernorm',
  'blk.#.ffn_gate': 'model.layers.#.mlp.gate_proj',
  'blk.#.ffn_up': 'model.layers.#.mlp.up_proj',
  'blk.#.ffn_down': 'model.layers.#.mlp.down_proj',
}

/** The keys of config.json that decoders with RMSNorm and rotary positions share. */
export async function rotaryDecoderConfig({ metadata, tensors, key }: GgufSource): Promise<Config> {
  if (metadata.has(key('expert_count')) && metadata.number(key('expert_count')) > 0)
    throw unsupported('mixtures of experts are not supported', { where: metadata.where })
  const hidden = metadata.size(key('embedding_length'))
  const heads = metadata.size(key('attention.head_count'))
  const positions = contextLength({ metadata, tensors, key })
  const theta = metadata.number(key('rope.freq_base'), 10000)
  const headSize = metadata.size(key('attention.key_length'), metadata.size(key('rope.dimension_count'), hidden / heads))
  const rows = tensors.get('blk.0.attn_q.weight')?.shape[0] ?? heads * headSize
  if (rows !== heads * headSize)
    throw badInput(`blk.0.attn_q.weight has ${rows} rows, and ${heads} heads of ${headSize} need ${heads * headSize}`, {
      where: metadata.where,
    })
  const scaling = await ropeScaling({ metadata, tensors, key }, { theta, headSize, positions })
  return {
    hidden_size: hidden,
    num_hidden_layers: layerCount({ metadata, tensors, key }),
    num_attention_heads: heads,
    num_key_value_heads: metadata.size(key('attention.head_count_kv'), heads),
    head_dim: headSize,
    intermediate_size: metadata.size(key('feed_forward_length')),
    vocab_size: vocabularySize({ metadata, tensors, key }),
    max_position_embeddings: positions,
    rms_norm_eps: metadata.number(key('attention.layer_norm_rms_epsilon')),
    rope_theta: theta,
    ...(scaling ? { rope_scaling: scaling } : {}),
    tie_word_embeddings: !tensors.has('output.weight'),
  }
}

/** As many as the longest contexts that Llamas were trained for; tables of positions are built to the length that a file names. */
const mostPositions = 2 ** 22

/** Positions that the model reads. */
export function contextLength({ metadata, key }: GgufSource): number {
  const positions = metadata.size(key('context_length'))
  if (positions <= mostPositions) return positions
  throw unsupported(`${key('context_length')} is ${positions}, and at most ${mostPositions} is supported`, { where: metadata.where })
}

/** Layers, of which each has at least a tensor. */
export function layerCount({ metadata, tensors, key }: GgufSource): number {
  const layers = metadata.size(key('block_count'))
  if (layers <= tensors.size) return layers
  throw badInput(`${key('block_count')} is ${layers}, and the file has ${tensors.size} tensors`, { where: metadata.where })
}

/** Rows of the embedding's table, which are the truth where the file names another number. */
export function vocabularySize({ metadata, tensors }: GgufSource): number {
  const table = tensors.get('token_embd.weight')
  if (table?.shape.length === 2) return table.shape[0]
  throw badInput('the tensor token_embd.weight is missing or no matrix', { where: metadata.where, hint: 'The file is incomplete.' })
}

interface Rotary {
  readonly theta: number
  readonly headSize: number
  readonly positions: number
}

async function ropeScaling({ metadata, tensors, key }: GgufSource, rotary: Rotary): Promise<Config | null> {
  const type = metadata.text(key('rope.scaling.type'), 'none')
  const factors = tensors.get(rotaryFactors)
  if (factors) return llama3Scaling(await factors.read(), rotary, metadata.where)
  if (type === 'none') return null
  const original = metadata.size(key('rope.scaling.original_context_length'), rotary.positions)
  const factor = metadata.number(key('rope.scaling.factor'), 1)
  if (type === 'linear') return { rope_type: 'linear', factor }
  if (type === 'yarn') return { rope_type: 'yarn', factor, original_max_position_embeddings: original }
  throw unsupported(`rope scaling of type "${type}" is not known in GGUF files`, {
    where: metadata.where,
    hint: 'Known: none, linear, yarn.',
  })
}

/** Llama 3's constants, which its files do not name. */
const [lowFrequencyFactor, highFrequencyFactor] = [1, 4]

/**
 * Llama 3's scaling out of the divisors that llama.cpp computed from it: the largest is the factor, and the context of the first
 * training is the power of two that gives the others.
 */
function llama3Scaling(elements: ArrayLike<unknown>, { theta, headSize, positions }: Rotary, where: string): Config {
  const divisors = Array.from(elements, Number)
  const factor = Math.max(...divisors)
  const error = (original: number) =>
    Math.max(
      ...divisors.map((divisor, i) => {
        const turns = (original * theta ** ((-2 * i) / headSize)) / (2 * Math.PI)
        const smooth = Math.min(Math.max((turns - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor), 0), 1)
        return Math.abs(((1 - smooth) / factor + smooth) * divisor - 1)
      }),
    )
  const contexts = Array.from({ length: Math.ceil(Math.log2(positions)) + 1 }, (_, power) => 2 ** power)
  const original = contexts.reduce((best, context) => (error(context) < error(best) ? context : best))
  if (divisors.length !== headSize / 2 || !(error(original) < 1e-4))
    throw unsupported(`the tensor ${rotaryFactors} is not Llama 3's scaling of rotary positions, and no other is known`, { where })
  return {
    rope_type: 'llama3',
    factor: Number(factor.toPrecision(6)),
    low_freq_factor: lowFrequencyFactor,
    high_freq_factor: highFrequencyFactor,
    original_max_position_embeddings: original,
  }
}

/**
 * llama.cpp turns pairs of neighbours, the Hugging Face library element i with element i + half: the converter interleaves the rows of
 * each head's query and key, and this takes them apart again.
 *
 * @param heads heads of the tensor
 */
export function withHalvesApart(tensor: GgufTensor, heads: number): Tensor {
  const rows = tensor.shape[0] ?? 0
  const size = rows / heads
  if (!Number.isInteger(size / 2)) return tensor
  const order = Array.from({ length: rows }, (_, row) => {
    const [head, within] = [Math.floor(row / size), row % size]
    return head * size + (within < size / 2 ? 2 * within : 2 * (within - size / 2) + 1)
  })
  return tensor.withRows(order)
}
