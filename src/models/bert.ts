import { badInput } from '../base/errors.js'
import { int } from '../ir/attribute.js'
import type { Value } from '../ir/node.js'
import { activation } from '../nn/activations.js'
import { questionAnsweringHead } from '../nn/heads.js'
import { embedding, layerNorm, linear, positionEmbedding, tiedHead } from '../nn/layers.js'
import { firstToken, paddingMask } from '../nn/masks.js'
import { Net } from '../nn/net.js'
import { sentenceEmbedding } from '../nn/pooling.js'
import { type Architecture, type ConfigReader, classOf, type Source } from './architecture.js'

interface Shape {
  readonly hidden: number
  readonly heads: number
  readonly layers: number
  readonly inner: number
  readonly vocabulary: number
  readonly positions: number
  readonly types: number
  readonly epsilon: number
  readonly activation: string
}

function shapeOf(config: ConfigReader): Shape {
  const shape: Shape = {
    hidden: config.size('hidden_size'),
    heads: config.size('num_attention_heads'),
    layers: config.size('num_hidden_layers'),
    inner: config.size('intermediate_size'),
    vocabulary: config.size('vocab_size'),
    positions: config.size('max_position_embeddings'),
    types: config.size('type_vocab_size', 2),
    epsilon: config.number('layer_norm_eps', 1e-12),
    activation: config.text('hidden_act', 'gelu'),
  }
  if (shape.hidden % shape.heads)
    throw badInput(`"hidden_size" ${shape.hidden} is no multiple of "num_attention_heads" ${shape.heads}`, { where: 'config.json' })
  const positions = config.text('position_embedding_type', 'absolute')
  if (positions !== 'absolute')
    throw badInput(`"position_embedding_type" is "${positions}" and only "absolute" is supported`, { where: 'config.json' })
  return shape
}

function embeddings(net: Net, shape: Shape, ids: Value, types: Value): Value {
  const word = embedding(net.at('word_embeddings'), ids, shape.vocabulary, shape.hidden)
  const type = embedding(net.at('token_type_embeddings'), types, shape.types, shape.hidden)
  const position = positionEmbedding(net.at('position_embeddings'), ids, shape.positions, shape.hidden)
  const sum = net.op('Add', [net.op('Add', [word, type]), position])
  return layerNorm(net.at('LayerNorm'), sum, shape.hidden, shape.epsilon)
}

function layer(net: Net, shape: Shape, x: Value, mask: Value): Value {
  const self = net.at('attention.self')
  const [query, key, value] = ['query', 'key', 'value'].map((name) => linear(self.at(name), x, shape.hidden, shape.hidden, true))
  const heads = { q_num_heads: int(shape.heads), kv_num_heads: int(shape.heads) }
  const context = self.op('Attention', [query, key, value, mask], heads)
  const output = net.at('attention.output')
  const attended = output.op('Add', [linear(output.at('dense'), context, shape.hidden, shape.hidden, true), x])
  const middle = layerNorm(output.at('LayerNorm'), attended, shape.hidden, shape.epsilon)
  const up = net.at('intermediate')
  const active = activation(up, shape.activation, linear(up.at('dense'), middle, shape.hidden, shape.inner, true))
  const down = net.at('output')
  const sum = down.op('Add', [linear(down.at('dense'), active, shape.inner, shape.hidden, true), middle])
  return layerNorm(down.at('LayerNorm'), sum, shape.hidden, shape.epsilon)
}

/** What stands on the encoder: its outputs by name. */
type Head = (net: Net, shape: Shape, hidden: Value, source: Source, table: () => Value) => void

const heads: Readonly<Record<string, Head>> = {
  BertModel(net, shape, hidden, source) {
    const base = net.base('bert')
    net.output('last_hidden_state', hidden)
    const sentence = sentenceEmbedding(net, hidden, net.graph.value('attention_mask')!, source.documents)
    if (sentence) net.output('sentence_embedding', sentence)
    else if (base.has('pooler.dense.weight')) net.output('pooler_output', pooled(base, shape, hidden))
  },
  BertForMaskedLM(net, shape, hidden, source, table) {
    const head = net.at('cls.predictions')
    const dense = linear(head.at('transform.dense'), hidden, shape.hidden, shape.hidden, true)
    const transformed = layerNorm(head.at('transform.LayerNorm'), activation(head, shape.activation, dense), shape.hidden, shape.epsilon)
    const tied = source.config.flag('tie_word_embeddings', true)
    const product = tied
      ? tiedHead(head, transformed, table())
      : linear(head.at('decoder'), transformed, shape.hidden, shape.vocabulary, false)
    net.output('logits', head.op('Add', [product, head.parameter('bias', [shape.vocabulary])]))
  },
  BertForSequenceClassification(net, shape, hidden, source) {
    const vector = pooled(net.base('bert'), shape, hidden)
    net.output('logits', linear(net.at('classifier'), vector, shape.hidden, source.config.labelCount, true))
  },
  BertForTokenClassification(net, shape, hidden, source) {
    net.output('logits', linear(net.at('classifier'), hidden, shape.hidden, source.config.labelCount, true))
  },
  BertForQuestionAnswering(net, shape, hidden) {
    questionAnsweringHead(net, hidden, shape.hidden)
  },
}

function pooled(net: Net, shape: Shape, hidden: Value): Value {
  const pooler = net.at('pooler')
  return pooler.op('Tanh', [linear(pooler.at('dense'), firstToken(pooler, hidden), shape.hidden, shape.hidden, true)])
}

/** BERT (Devlin et al., 2018) and what shares its layers: MiniLM, BGE, E5, GTE encoders. */
export const bert: Architecture = {
  type: 'bert',
  summary:
    'encoders with absolute positions and LayerNorm after each residual: base, masked language model, classifiers, question answering, sentence embeddings',
  source: 'BERT: Pre-training of Deep Bidirectional Transformers, 2018',
  classes: Object.keys(heads),
  build(source) {
    const shape = shapeOf(source.config)
    const className = classOf(bert, source.config)
    const net = new Net(undefined, source.parameters)
    const tokens = ['batch_size', 'sequence_length']
    const [ids, attentionMask, types] = ['input_ids', 'attention_mask', 'token_type_ids'].map((name) => net.input(name, 'int64', tokens))
    const base = net.base('bert')
    let hidden = embeddings(base.at('embeddings'), shape, ids, types)
    const mask = paddingMask(net, attentionMask)
    for (let i = 0; i < shape.layers; i++) hidden = layer(base.at(`encoder.layer.${i}`), shape, hidden, mask)
    heads[className](net, shape, hidden, source, () =>
      base.at('embeddings.word_embeddings').parameter('weight', [shape.vocabulary, shape.hidden]),
    )
    return new Map([['model', net.graph]])
  },
}
