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

/** Of all LayerNorms; config.json has no key for it. */
const epsilon = 1e-12

interface Shape {
  readonly hidden: number
  readonly heads: number
  readonly layers: number
  readonly inner: number
  readonly vocabulary: number
  readonly positions: number
  readonly activation: string
}

function shapeOf(config: ConfigReader): Shape {
  const [hidden, heads] = [config.size('dim'), config.size('n_heads')]
  if (hidden % heads) throw badInput(`"dim" ${hidden} is no multiple of "n_heads" ${heads}`, { where: 'config.json' })
  return {
    hidden,
    heads,
    layers: config.size('n_layers'),
    inner: config.size('hidden_dim'),
    vocabulary: config.size('vocab_size'),
    positions: config.size('max_position_embeddings'),
    activation: config.text('activation', 'gelu'),
  }
}

function embeddings(net: Net, shape: Shape, ids: Value): Value {
  const word = embedding(net.at('word_embeddings'), ids, shape.vocabulary, shape.hidden)
  const position = positionEmbedding(net.at('position_embeddings'), ids, shape.positions, shape.hidden)
  return layerNorm(net.at('LayerNorm'), net.op('Add', [word, position]), shape.hidden, epsilon)
}

function layer(net: Net, { hidden, heads, inner, activation: name }: Shape, x: Value, mask: Value): Value {
  const self = net.at('attention')
  const parts = ['q_lin', 'k_lin', 'v_lin'].map((part) => linear(self.at(part), x, hidden, hidden, true))
  const context = self.op('Attention', [...parts, mask], { q_num_heads: int(heads), kv_num_heads: int(heads) })
  const attended = self.op('Add', [linear(self.at('out_lin'), context, hidden, hidden, true), x])
  const middle = layerNorm(net.at('sa_layer_norm'), attended, hidden, epsilon)
  const ffn = net.at('ffn')
  const active = activation(ffn, name, linear(ffn.at('lin1'), middle, hidden, inner, true))
  const sum = ffn.op('Add', [linear(ffn.at('lin2'), active, inner, hidden, true), middle])
  return layerNorm(net.at('output_layer_norm'), sum, hidden, epsilon)
}

/** What stands on the encoder: its outputs by name. */
type Head = (net: Net, shape: Shape, hidden: Value, source: Source) => void

const heads: Readonly<Record<string, Head>> = {
  DistilBertModel(net, _, hidden, source) {
    net.output('last_hidden_state', hidden)
    const sentence = sentenceEmbedding(net, hidden, net.graph.value('attention_mask')!, source.documents)
    if (sentence) net.output('sentence_embedding', sentence)
  },
  DistilBertForMaskedLM(net, shape, hidden, source) {
    const transform = net.at('vocab_transform')
    const dense = activation(transform, shape.activation, linear(transform, hidden, shape.hidden, shape.hidden, true))
    const normed = layerNorm(net.at('vocab_layer_norm'), dense, shape.hidden, epsilon)
    const head = net.at('vocab_projector')
    const table = net.base('distilbert').at('embeddings.word_embeddings')
    const product = source.config.flag('tie_word_embeddings', true)
      ? tiedHead(head, normed, table.parameter('weight', [shape.vocabulary, shape.hidden]))
      : linear(head, normed, shape.hidden, shape.vocabulary, false)
    net.output('logits', head.op('Add', [product, head.parameter('bias', [shape.vocabulary])]))
  },
  DistilBertForSequenceClassification(net, { hidden: size }, hidden, { config }) {
    const before = net.at('pre_classifier')
    const vector = before.op('Relu', [linear(before, firstToken(before, hidden), size, size, true)])
    net.output('logits', linear(net.at('classifier'), vector, size, config.labelCount, true))
  },
  DistilBertForTokenClassification(net, shape, hidden, { config }) {
    net.output('logits', linear(net.at('classifier'), hidden, shape.hidden, config.labelCount, true))
  },
  DistilBertForQuestionAnswering: (net, shape, hidden) => questionAnsweringHead(net, hidden, shape.hidden),
}

/** DistilBERT (Sanh et al., 2019): BERT's layers, half as many, without token types and pooler. */
export const distilbert: Architecture = {
  type: 'distilbert',
  summary: 'BERT encoders of half the depth without token types: base, masked language model, classifiers, question answering',
  source: 'DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter, 2019',
  classes: Object.keys(heads),
  build(source) {
    const shape = shapeOf(source.config)
    const className = classOf(distilbert, source.config)
    const net = new Net(undefined, source.parameters)
    const tokens = ['batch_size', 'sequence_length']
    const [ids, attentionMask] = ['input_ids', 'attention_mask'].map((name) => net.input(name, 'int64', tokens))
    const base = net.base('distilbert')
    let hidden = embeddings(base.at('embeddings'), shape, ids)
    const mask = paddingMask(net, attentionMask)
    for (let i = 0; i < shape.layers; i++) hidden = layer(base.at(`transformer.layer.${i}`), shape, hidden, mask)
    heads[className](net, shape, hidden, source)
    return new Map([['model', net.graph]])
  },
}
