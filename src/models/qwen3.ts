import type { Architecture, ConfigReader } from './architecture.js'
import { gatedDecoderClasses, gatedDecoderGraph, gatedDecoderShape } from './gated-decoder.js'
import { rotaryDecoderConfig, rotaryDecoderModules } from './gguf.js'

const classes = gatedDecoderClasses('Qwen3')

/** How many keys each layer sees: `sliding_window` in the layers that `layer_types` or `max_window_layers` give one to. */
function windowsOf(config: ConfigReader, layers: number): (number | undefined)[] {
  if (!config.flag('use_sliding_window', false) || !config.has('sliding_window')) return []
  const window = config.size('sliding_window')
  const types = config.has('layer_types') ? config.texts('layer_types') : null
  const first = types ? 0 : config.number('max_window_layers', 28)
  return Array.from({ length: layers }, (_, i) => ((types ? types[i] === 'sliding_attention' : i >= first) ? window : undefined))
}

/** Qwen3 (Yang et al., 2025): a Llama whose queries and keys are normed head by head. */
export const qwen3: Architecture = {
  type: 'qwen3',
  summary: 'decoders as Llama with RMSNorm on each head of queries and keys, and attention windows',
  source: 'Qwen3 Technical Report, 2025',
  classes: Object.keys(classes),
  gguf: {
    architecture: 'qwen3',
    modules: {
      ...rotaryDecoderModules,
      'blk.#.attn_q_norm': 'model.layers.#.self_attn.q_norm',
      'blk.#.attn_k_norm': 'model.layers.#.self_attn.k_norm',
    },
    config: async (source) => ({
      model_type: 'qwen3',
      architectures: ['Qwen3ForCausalLM'],
      hidden_act: 'silu',
      ...(await rotaryDecoderConfig(source)),
      attention_bias: source.tensors.has('blk.0.attn_q.bias'),
    }),
  },
  build(source) {
    const shape = gatedDecoderShape(source.config, { headSize: 128, positions: 32768, headNorms: true })
    return new Map([['model', gatedDecoderGraph(qwen3, classes, source, shape, windowsOf(source.config, shape.layers))]])
  },
}
