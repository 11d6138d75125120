import { badInput } from '../base/errors.js'
import { int } from '../ir/attribute.js'
import type { Value } from '../ir/node.js'
import { activation } from '../nn/activations.js'
import { embedding, linear, rmsNorm, tiedHead } from '../nn/layers.js'
import { causalMask } from '../nn/masks.js'
import { Net } from '../nn/net.js'
import { type RopeScaling, rotaryTables } from '../nn/rotary.js'
import { type Architecture, type ConfigReader, classOf } from './architecture.js'

interface Shape {
  readonly hidden: number
  readonly heads: number
  readonly kvHeads: number
  readonly headSize: number
  readonly layers: number
  readonly inner: number
  readonly vocabulary: number
  readonly positions: number
  readonly epsilon: number
  readonly activation: string
  readonly attentionBias: boolean
  readonly feedForwardBias: boolean
}

function shapeOf(config: ConfigReader): Shape {
  const hidden = config.size('hidden_size')
  const heads = config.size('num_attention_heads')
  const kvHeads = config.size('num_key_value_heads', heads)
  if (!config.has('head_dim') && hidden % heads)
    throw badInput(`"hidden_size" ${hidden} is no multiple of "num_attention_heads" ${heads}`, { where: 'config.json' })
  if (heads % kvHeads)
    throw badInput(`"num_attention_heads" ${heads} is no multiple of "num_key_value_heads" ${kvHeads}`, { where: 'config.json' })
  return {
    hidden,
    heads,
    kvHeads,
    headSize: config.size('head_dim', hidden / heads),
    layers: config.size('num_hidden_layers'),
    inner: config.size('intermediate_size'),
    vocabulary: config.size('vocab_size'),
    positions: config.size('max_position_embeddings', 2048),
    epsilon: config.number('rms_norm_eps', 1e-6),
    activation: config.text('hidden_act', 'silu'),
    attentionBias: config.flag('attention_bias', false),
    feedForwardBias: config.flag('mlp_bias', false),
  }
}

/** `rope_scaling` of older files, `rope_parameters` of newer ones. */
function ropeOf(config: ConfigReader, positions: number): { theta: number; scaling: RopeScaling | null } {
  const section = config.section('rope_parameters') ?? config.section('rope_scaling')
  const theta = section?.has('rope_theta') ? section.number('rope_theta') : config.number('rope_theta', 10000)
  if (!section) return { theta, scaling: null }
  const type = section.text('rope_type', section.has('type') ? section.text('type') : 'default')
  return {
    theta,
    scaling: {
      type,
      factor: section.number('factor', 1),
      lowFrequencyFactor: section.number('low_freq_factor', 1),
      highFrequencyFactor: section.number('high_freq_factor', 4),
      originalPositions: section.number('original_max_position_embeddings', positions),
      betaFast: section.number('beta_fast', 32),
      betaSlow: section.number('beta_slow', 1),
      attentionFactor: section.has('attention_factor') ? section.number('attention_factor') : undefined,
    },
  }
}

/** What every layer shares. */
interface Shared {
  readonly shape: Shape
  readonly mask: Value
  readonly positions: Value
  readonly tables: readonly [Value, Value]
}

function attention(net: Net, { shape, mask, positions, tables }: Shared, x: Value, past: readonly [Value, Value], index: number): Value {
  const project = (name: string, heads: number) => linear(net.at(name), x, shape.hidden, heads * shape.headSize, shape.attentionBias)
  const rotate = (value: Value, heads: number) => net.op('RotaryEmbedding', [value, ...tables, positions], { num_heads: int(heads) })
  const query = rotate(project('q_proj', shape.heads), shape.heads)
  const key = rotate(project('k_proj', shape.kvHeads), shape.kvHeads)
  const [context, presentKey, presentValue] = net.ops('Attention', [query, key, project('v_proj', shape.kvHeads), mask, ...past], {
    attributes: { q_num_heads: int(shape.heads), kv_num_heads: int(shape.kvHeads) },
    outputs: [net.path('attention'), `present.${index}.key`, `present.${index}.value`],
  })
  net.graph.outputs.push(presentKey, presentValue)
  return linear(net.at('o_proj'), context, shape.heads * shape.headSize, shape.hidden, shape.attentionBias)
}

function feedForward(net: Net, { shape }: Shared, x: Value): Value {
  const gate = linear(net.at('gate_proj'), x, shape.hidden, shape.inner, shape.feedForwardBias)
  const up = linear(net.at('up_proj'), x, shape.hidden, shape.inner, shape.feedForwardBias)
  return linear(
    net.at('down_proj'),
    net.op('Mul', [activation(net, shape.activation, gate), up]),
    shape.inner,
    shape.hidden,
    shape.feedForwardBias,
  )
}

function layer(net: Net, shared: Shared, x: Value, past: readonly [Value, Value], index: number): Value {
  const { hidden, epsilon } = shared.shape
  const attended = attention(net.at('self_attn'), shared, rmsNorm(net.at('input_layernorm'), x, hidden, epsilon), past, index)
  const middle = net.op('Add', [x, attended])
  return net.op('Add', [middle, feedForward(net.at('mlp'), shared, rmsNorm(net.at('post_attention_layernorm'), middle, hidden, epsilon))])
}

/** Llama (Touvron et al., 2023) with grouped-query attention, rope scaling, tied embeddings and a key-value cache. */
export const llama: Architecture = {
  type: 'llama',
  summary: 'decoders with RMSNorm, rotary positions, grouped-query attention and a gated feed-forward',
  source: 'LLaMA: Open and Efficient Foundation Language Models, 2023',
  classes: ['LlamaForCausalLM'],
  build({ config, parameters }) {
    classOf(llama, config)
    const shape = shapeOf(config)
    const net = new Net(undefined, parameters)
    const ids = net.input('input_ids', 'int64', ['batch_size', 'sequence_length'])
    const attentionMask = net.input('attention_mask', 'int64', ['batch_size', 'past_sequence_length + sequence_length'])
    const positions = net.input('position_ids', 'int64', ['batch_size', 'sequence_length'])
    const cache = ['batch_size', shape.kvHeads, 'past_sequence_length', shape.headSize]
    const pasts = Array.from({ length: shape.layers }, (_, i): [Value, Value] => [
      net.input(`past_key_values.${i}.key`, 'float32', cache),
      net.input(`past_key_values.${i}.value`, 'float32', cache),
    ])
    const { theta, scaling } = ropeOf(config, shape.positions)
    const model = net.at('model')
    const shared: Shared = {
      shape,
      mask: causalMask(model, attentionMask, pasts[0][0]),
      positions,
      tables: rotaryTables(model, shape.positions, shape.headSize, theta, scaling),
    }
    let hidden = embedding(model.at('embed_tokens'), ids, shape.vocabulary, shape.hidden)
    for (let i = 0; i < shape.layers; i++) hidden = layer(model.at(`layers.${i}`), shared, hidden, pasts[i], i)
    const normed = rmsNorm(model.at('norm'), hidden, shape.hidden, shape.epsilon)
    const tied = config.flag('tie_word_embeddings', false)
    const logits = tied
      ? tiedHead(net.at('lm_head'), normed, model.at('embed_tokens').parameter('weight', [shape.vocabulary, shape.hidden]))
      : linear(net.at('lm_head'), normed, shape.hidden, shape.vocabulary, false)
    net.output('logits', logits)
    net.graph.outputs.unshift(net.graph.outputs.pop()!)
    return new Map([['model', net.graph]])
  },
}
