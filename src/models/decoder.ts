import type { Graph } from '../ir/graph.js'
import type { Value } from '../ir/node.js'
import type { Past } from '../nn/gated-decoder.js'
import { languageModelHead, lastTokenHead, questionAnsweringHead } from '../nn/heads.js'
import { linear } from '../nn/layers.js'
import { Net } from '../nn/net.js'
import { sentenceEmbedding } from '../nn/pooling.js'
import { type Architecture, classOf, type Source } from './architecture.js'

/** One class of a decoder. */
export interface DecoderClass {
  readonly head: keyof typeof heads
  /** Module of the base model in checkpoints of this class. */
  readonly base: string
}

/** The sizes that inputs and heads need. */
export interface DecoderSizes {
  readonly hidden: number
  readonly layers: number
  readonly kvHeads: number
  readonly headSize: number
  readonly vocabulary: number
  /** Whether the language model's head shares the embedding's table. */
  readonly tied: boolean
}

/** What a decoder's layers read. */
export interface DecoderInputs {
  readonly ids: Value
  /** 0/1 [batch, keys], past included. */
  readonly attentionMask: Value
  /** int64 [batch, tokens]; null: tokens count from 0. */
  readonly positions: Value | null
  /** The cache, by layer. */
  readonly pasts: readonly Past[] | null
}

/** What a decoder's layers give. */
export interface DecoderBody {
  /** After the last norm, [batch, tokens, hidden]. */
  readonly hidden: Value
  /** Of the embedding, [vocabulary, hidden]. */
  readonly table: Value
}

interface HeadInputs extends DecoderBody {
  readonly inputs: DecoderInputs
  readonly sizes: DecoderSizes
  readonly source: Source
}

/** What stands on a decoder. */
const heads = {
  none(net, { hidden, inputs, source }) {
    net.output('last_hidden_state', hidden)
    const sentence = sentenceEmbedding(net, hidden, inputs.attentionMask, source.documents)
    if (sentence) net.output('sentence_embedding', sentence)
  },
  'language-model'(net, { hidden, table, sizes }) {
    languageModelHead(net, hidden, sizes.tied ? table : null, sizes.hidden, sizes.vocabulary)
  },
  'last-token'(net, { hidden, inputs, sizes, source: { config } }) {
    const padId = config.has('pad_token_id') ? config.number('pad_token_id') : null
    lastTokenHead(net, hidden, { ...inputs, padId }, sizes.hidden, config.labelCount)
  },
  score: (net, { hidden, sizes, source }) =>
    net.output('logits', linear(net.at('score'), hidden, sizes.hidden, source.config.labelCount, true)),
  classifier: (net, { hidden, sizes, source }) =>
    net.output('logits', linear(net.at('classifier'), hidden, sizes.hidden, source.config.labelCount, true)),
  'question-answering': (net, { hidden, sizes }) => questionAnsweringHead(net, hidden, sizes.hidden),
} satisfies Record<string, (net: Net, given: HeadInputs) => void>

/**
 * The graph of a decoder: a language model with a key-value cache, anything else without.
 *
 * @param body emits embedding, layers and last norm in the module of the base model
 */
export function decoderGraph(
  architecture: Architecture,
  classes: Readonly<Record<string, DecoderClass>>,
  source: Source,
  sizes: DecoderSizes,
  body: (net: Net, inputs: DecoderInputs) => DecoderBody,
): Graph {
  const { head, base } = classes[classOf(architecture, source.config)]
  const net = new Net(undefined, source.parameters)
  const inputs = head === 'language-model' ? cachedInputs(net, sizes) : plainInputs(net)
  const built = body(net.base(base), inputs)
  const presents = net.graph.outputs.splice(0)
  heads[head](net, { ...built, inputs, sizes, source })
  net.graph.outputs.push(...presents)
  return net.graph
}

function plainInputs(net: Net): DecoderInputs {
  const tokens = ['batch_size', 'sequence_length']
  return {
    ids: net.input('input_ids', 'int64', tokens),
    attentionMask: net.input('attention_mask', 'int64', tokens),
    positions: null,
    pasts: null,
  }
}

function cachedInputs(net: Net, { layers, kvHeads, headSize }: DecoderSizes): DecoderInputs {
  const tokens = ['batch_size', 'sequence_length']
  const cache = ['batch_size', kvHeads, 'past_sequence_length', headSize]
  return {
    ids: net.input('input_ids', 'int64', tokens),
    attentionMask: net.input('attention_mask', 'int64', ['batch_size', 'past_sequence_length + sequence_length']),
    positions: net.input('position_ids', 'int64', tokens),
    pasts: Array.from(
      { length: layers },
      (_, i): Past => [net.input(`past_key_values.${i}.key`, 'float32', cache), net.input(`past_key_values.${i}.value`, 'float32', cache)],
    ),
  }
}
