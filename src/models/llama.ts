import type { Architecture } from './architecture.js'
import { gatedDecoderClasses, gatedDecoderGraph, gatedDecoderShape } from './gated-decoder.js'
import { rotaryDecoderConfig, rotaryDecoderModules, withHalvesApart } from './gguf.js'

const classes = gatedDecoderClasses('Llama')

/** Llama (Touvron et al., 2023) with grouped-query attention, rope scaling, tied embeddings and a key-value cache. */
export const llama: Architecture = {
  type: 'llama',
  summary: 'decoders with RMSNorm, rotary positions, grouped-query attention and a gated feed-forward',
  source: 'LLaMA: Open and Efficient Foundation Language Models, 2023',
  classes: Object.keys(classes),
  gguf: {
    architecture: 'llama',
    modules: rotaryDecoderModules,
    config: async (source) => ({
      model_type: 'llama',
      architectures: ['LlamaForCausalLM'],
      hidden_act: 'silu',
      ...(await rotaryDecoderConfig(source)),
      attention_bias: source.tensors.has('blk.0.attn_q.bias'),
      mlp_bias: source.tensors.has('blk.0.ffn_gate.bias'),
    }),
    restore(module, tensor, config) {
      if (module === 'blk.#.attn_q') return withHalvesApart(tensor, Number(config['num_attention_heads']))
      return module === 'blk.#.attn_k' ? withHalvesApart(tensor, Number(config['num_key_value_heads'])) : tensor
    },
  },
  build: (source) => new Map([['model', gatedDecoderGraph(llama, classes, source, gatedDecoderShape(source.config))]]),
}
