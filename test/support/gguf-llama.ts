import type { Config } from '../../src/ir/model.js'
import type { Tensor } from '../../src/ir/tensor.js'
import { f32, f32Entry, type GgufEntry, type GgufFile, type GgufValue, text, u32 } from './gguf.js'

/** llama.cpp's names of a Llama's modules, as its converter writes them. */
const names: readonly (readonly [RegExp, string])[] = [
  [/^model\.embed_tokens\./, 'token_embd.'],
  [/^model\.norm\./, 'output_norm.'],
  [/^lm_head\./, 'output.'],
  [/^model\.layers\.(\d+)\.input_layernorm\./, 'blk.$1.attn_norm.'],
  [/^model\.layers\.(\d+)\.post_attention_layernorm\./, 'blk.$1.ffn_norm.'],
  [/^model\.layers\.(\d+)\.self_attn\.o_proj\./, 'blk.$1.attn_output.'],
  [/^model\.layers\.(\d+)\.self_attn\.(q|k|v)_proj\./, 'blk.$1.attn_$2.'],
  [/^model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj\./, 'blk.$1.ffn_$2.'],
]

/** `weights.reshape(heads, 2, size / 2, columns).swapaxes(1, 2)`, as the converter says it. */
function interleaved(values: Float32Array, heads: number, rows: number): Float32Array {
  const [columns, half] = [values.length / rows, rows / heads / 2]
  const result = new Float32Array(values.length)
  let row = 0
  for (let head = 0; head < heads; head++)
    for (let i = 0; i < half; i++)
      for (let part = 0; part < 2; part++) {
        const from = (head * 2 + part) * half + i
        result.set(values.subarray(from * columns, (from + 1) * columns), row++ * columns)
      }
  return result
}

/** The divisors that the converter computes from Llama 3's scaling. */
function llama3Factors(config: Record<string, number>, scaling: Record<string, number>): number[] {
  const size = config['head_dim']
  return Array.from({ length: size / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * config['rope_theta'] ** ((2 * i) / size)
    const original = scaling['original_max_position_embeddings']
    if (wavelength < original / scaling['high_freq_factor']) return 1
    if (wavelength > original / scaling['low_freq_factor']) return scaling['factor']
    const smooth = (original / wavelength - scaling['low_freq_factor']) / (scaling['high_freq_factor'] - scaling['low_freq_factor'])
    return 1 / ((1 - smooth) / scaling['factor'] + smooth)
  })
}

/** A Llama checkpoint as llama.cpp's converter writes it, in float32. */
export async function llamaGguf(config: Config, tensors: ReadonlyMap<string, Tensor>): Promise<GgufFile> {
  const sizes = config as Record<string, number>
  const entries: GgufEntry[] = []
  for (const [name, tensor] of tensors) {
    const [pattern, ours] = names.find(([candidate]) => candidate.test(name))!
    const heads = /q_proj/.test(name) ? sizes['num_attention_heads'] : /k_proj/.test(name) ? sizes['num_key_value_heads'] : 0
    const values = (await tensor.read()) as Float32Array
    entries.push(f32Entry(name.replace(pattern, ours), tensor.shape, heads ? interleaved(values, heads, tensor.shape[0]) : values))
  }
  const scaling = config['rope_scaling'] as Record<string, number> | undefined
  if (scaling) entries.push(f32Entry('rope_freqs.weight', [sizes['head_dim'] / 2], llama3Factors(sizes, scaling)))
  const llama: [string, GgufValue][] = [
    ['block_count', u32(sizes['num_hidden_layers'])],
    ['context_length', u32(sizes['max_position_embeddings'])],
    ['embedding_length', u32(sizes['hidden_size'])],
    ['feed_forward_length', u32(sizes['intermediate_size'])],
    ['attention.head_count', u32(sizes['num_attention_heads'])],
    ['attention.head_count_kv', u32(sizes['num_key_value_heads'])],
    ['attention.key_length', u32(sizes['head_dim'])],
    ['attention.layer_norm_rms_epsilon', f32(sizes['rms_norm_eps'] ?? 1e-6)],
    ['rope.freq_base', f32(sizes['rope_theta'] ?? 10000)],
    ['rope.dimension_count', u32(sizes['head_dim'])],
  ]
  return {
    metadata: [['general.architecture', text('llama')], ...llama.map(([key, value]): [string, GgufValue] => [`llama.${key}`, value])],
    tensors: entries,
  }
}
