import { badInput, unsupported } from '../base/errors.js'
import { float, int } from '../ir/attribute.js'
import type { Value } from '../ir/node.js'
import { transposed } from '../ir/tensor.js'
import { activation } from '../nn/activations.js'
import { cachedAttention, type Past } from '../nn/gated-decoder.js'
import { conv1d, embedding, layerNorm, positionEmbedding } from '../nn/layers.js'
import { causalMask } from '../nn/masks.js'
import type { Net } from '../nn/net.js'
import type { Architecture, ConfigReader } from './architecture.js'
import { type DecoderClass, decoderGraph } from './decoder.js'
import { contextLength, layerCount, vocabularySize } from './gguf.js'

interface Shape {
  readonly hidden: number
  readonly heads: number
  readonly layers: number
  readonly inner: number
  readonly vocabulary: number
  readonly positions: number
  readonly epsilon: number
  readonly activation: string
  /** Of the scores, by layer; null: 1 / sqrt(head size). */
  readonly scale: (layer: number) => number | null
}

function shapeOf(config: ConfigReader): Shape {
  const [hidden, heads] = [config.size('n_embd'), config.size('n_head')]
  if (hidden % heads) throw badInput(`"n_embd" ${hidden} is no multiple of "n_head" ${heads}`, { where: 'config.json' })
  if (config.flag('add_cross_attention', false))
    throw unsupported('a GPT-2 that reads an encoder ("add_cross_attention") is not supported', { where: 'config.json' })
  const usual = config.flag('scale_attn_weights', true) ? 1 / Math.sqrt(hidden / heads) : 1
  const byLayer = config.flag('scale_attn_by_inverse_layer_idx', false)
  const plain = !byLayer && config.flag('scale_attn_weights', true)
  return {
    hidden,
    heads,
    layers: config.size('n_layer'),
    inner: config.size('n_inner', 4 * hidden),
    vocabulary: config.size('vocab_size'),
    positions: config.size('n_positions', 1024),
    epsilon: config.number('layer_norm_epsilon', 1e-5),
    activation: config.text('activation_function', 'gelu_new'),
    scale: (layer) => (plain ? null : byLayer ? usual / (layer + 1) : usual),
  }
}

function attention(net: Net, shape: Shape, x: Value, mask: Value, past: Past | undefined, index: number): Value {
  const { hidden } = shape
  const merged = conv1d(net.at('c_attn'), x, hidden, 3 * hidden)
  const parts = net.at('c_attn').ops('Split', [merged, net.ints([hidden, hidden, hidden])], {
    attributes: { axis: int(-1) },
    outputs: ['query', 'key', 'value'].map((name) => net.path(name)),
  })
  const scale = shape.scale(index)
  const heads = { q_num_heads: int(shape.heads), kv_num_heads: int(shape.heads) }
  const attributes = scale === null ? heads : { ...heads, scale: float(scale) }
  return conv1d(net.at('c_proj'), cachedAttention(net, [...parts, mask], attributes, past, index), hidden, hidden)
}

function layer(net: Net, shape: Shape, x: Value, mask: Value, past: Past | undefined, index: number): Value {
  const { hidden, inner, epsilon } = shape
  const attended = attention(net.at('attn'), shape, layerNorm(net.at('ln_1'), x, hidden, epsilon), mask, past, index)
  const middle = net.op('Add', [x, attended])
  const mlp = net.at('mlp')
  const up = conv1d(mlp.at('c_fc'), layerNorm(net.at('ln_2'), middle, hidden, epsilon), hidden, inner)
  return net.op('Add', [middle, conv1d(mlp.at('c_proj'), activation(mlp, shape.activation, up), inner, hidden)])
}

const classes: Readonly<Record<string, DecoderClass>> = {
  GPT2LMHeadModel: { head: 'language-model', base: 'transformer' },
  GPT2Model: { head: 'none', base: 'transformer' },
  GPT2ForSequenceClassification: { head: 'last-token', base: 'transformer' },
  GPT2ForTokenClassification: { head: 'classifier', base: 'transformer' },
  GPT2ForQuestionAnswering: { head: 'question-answering', base: 'transformer' },
}

/** GPT-2 (Radford et al., 2019): learned absolute positions, LayerNorm in front of attention and feed-forward. */
export const gpt2: Architecture = {
  type: 'gpt2',
  summary: 'decoders with absolute positions, LayerNorm before each branch and one linear for query, key and value',
  source: 'Language Models are Unsupervised Multitask Learners, 2019',
  classes: Object.keys(classes),
  gguf: {
    architecture: 'gpt2',
    modules: {
      token_embd: 'transformer.wte',
      position_embd: 'transformer.wpe',
      output_norm: 'transformer.ln_f',
      output: 'lm_head',
      'blk.#.attn_norm': 'transformer.h.#.ln_1',
      'blk.#.attn_qkv': 'transformer.h.#.attn.c_attn',
      'blk.#.attn_output': 'transformer.h.#.attn.c_proj',
      'blk.#.ffn_norm': 'transformer.h.#.ln_2',
      'blk.#.ffn_up': 'transformer.h.#.mlp.c_fc',
      'blk.#.ffn_down': 'transformer.h.#.mlp.c_proj',
    },
    config: async (source) => {
      const { metadata, key, tensors } = source
      return {
        model_type: 'gpt2',
        architectures: ['GPT2LMHeadModel'],
        activation_function: 'gelu_new',
        n_embd: metadata.size(key('embedding_length')),
        n_layer: layerCount(source),
        n_head: metadata.size(key('attention.head_count')),
        n_inner: metadata.size(key('feed_forward_length')),
        n_positions: contextLength(source),
        vocab_size: vocabularySize(source),
        layer_norm_epsilon: metadata.number(key('attention.layer_norm_epsilon')),
        tie_word_embeddings: !tensors.has('output.weight'),
      }
    },
    // Linears lie as [in, out] in the checkpoint and as [out, in] in GGUF files.
    restore: (module, tensor) =>
      /attn_qkv|attn_output|ffn_(up|down)/.test(module) && tensor.shape.length === 2 ? transposed(tensor) : tensor,
  },
  build(source) {
    const shape = shapeOf(source.config)
    const { hidden: width, heads, positions: places } = shape
    const tied = source.config.flag('tie_word_embeddings', true)
    const sizes = { ...shape, kvHeads: heads, headSize: width / heads, tied }
    const graph = decoderGraph(gpt2, classes, source, sizes, (net, { ids, attentionMask, positions, pasts }) => {
      const wpe = net.at('wpe')
      const position = positions ? embedding(wpe, positions, places, width) : positionEmbedding(wpe, ids, places, width)
      const mask = causalMask(net, attentionMask, pasts?.[0][0])
      let hidden = net.op('Add', [embedding(net.at('wte'), ids, shape.vocabulary, width), position])
      for (let i = 0; i < shape.layers; i++) hidden = layer(net.at(`h.${i}`), shape, hidden, mask, pasts?.[i], i)
      const table = net.at('wte').parameter('weight', [shape.vocabulary, width])
      return { hidden: layerNorm(net.at('ln_f'), hidden, width, shape.epsilon), table }
    })
    return new Map([['model', graph]])
  },
}
