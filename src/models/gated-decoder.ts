import { badInput } from '../base/errors.js'
import type { Graph } from '../ir/graph.js'
import type { Value } from '../ir/node.js'
import { type GatedDecoderShape, gatedDecoderLayer } from '../nn/gated-decoder.js'
import { embedding, rmsNorm } from '../nn/layers.js'
import { causalMask, tokenPositions } from '../nn/masks.js'
import { type RopeScaling, rotaryTables } from '../nn/rotary.js'
import type { Architecture, ConfigReader, Source } from './architecture.js'
import { type DecoderClass, decoderGraph } from './decoder.js'

/** The classes of a family in which the base model is called `model`. */
export function gatedDecoderClasses(family: string): Readonly<Record<string, DecoderClass>> {
  return {
    [`${family}ForCausalLM`]: { head: 'language-model', base: 'model' },
    [`${family}Model`]: { head: 'none', base: 'model' },
    [`${family}ForSequenceClassification`]: { head: 'last-token', base: 'model' },
    [`${family}ForTokenClassification`]: { head: 'score', base: 'model' },
    [`${family}ForQuestionAnswering`]: { head: 'question-answering', base: 'transformer' },
  }
}

/** What config.json says of the layers; where it is silent, `defaults`, else what Llama has. */
export function gatedDecoderShape(config: ConfigReader, defaults: Partial<GatedDecoderShape> = {}): GatedDecoderShape {
  const hidden = config.size('hidden_size')
  const heads = config.size('num_attention_heads')
  const kvHeads = config.size('num_key_value_heads', heads)
  if (!config.has('head_dim') && !defaults.headSize && hidden % heads)
    throw badInput(`"hidden_size" ${hidden} is no multiple of "num_attention_heads" ${heads}`, { where: 'config.json' })
  if (heads % kvHeads)
    throw badInput(`"num_attention_heads" ${heads} is no multiple of "num_key_value_heads" ${kvHeads}`, { where: 'config.json' })
  return {
    hidden,
    heads,
    kvHeads,
    headSize: config.size('head_dim', defaults.headSize ?? hidden / heads),
    layers: config.size('num_hidden_layers'),
    inner: config.size('intermediate_size'),
    vocabulary: config.size('vocab_size'),
    positions: config.size('max_position_embeddings', defaults.positions ?? 2048),
    epsilon: config.number('rms_norm_eps', 1e-6),
    activation: config.text('hidden_act', 'silu'),
    attentionBias: config.flag('attention_bias', false),
    feedForwardBias: config.flag('mlp_bias', false),
    headNorms: defaults.headNorms ?? false,
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

/**
 * The graph of a decoder with RMSNorm, rotary positions, grouped-query attention and a gated feed-forward.
 *
 * @param windows how many keys each layer sees; undefined: all
 */
export function gatedDecoderGraph(
  architecture: Architecture,
  classes: Readonly<Record<string, DecoderClass>>,
  source: Source,
  shape: GatedDecoderShape,
  windows: readonly (number | undefined)[] = [],
): Graph {
  const { config } = source
  const sizes = { ...shape, tied: config.flag('tie_word_embeddings', false) }
  return decoderGraph(architecture, classes, source, sizes, (net, { ids, attentionMask, positions, pasts }) => {
    const { theta, scaling } = ropeOf(config, shape.positions)
    const masks = new Map<number | undefined, Value>()
    const maskOf = (window: number | undefined) => {
      const mask = masks.get(window) ?? causalMask(net, attentionMask, pasts?.[0][0], window)
      masks.set(window, mask)
      return mask
    }
    const shared = {
      positions: positions ?? tokenPositions(net, ids),
      tables: rotaryTables(net, shape.positions, shape.headSize, theta, scaling),
    }
    let hidden = embedding(net.at('embed_tokens'), ids, shape.vocabulary, shape.hidden)
    for (let index = 0; index < shape.layers; index++) {
      const inputs = { ...shared, mask: maskOf(windows[index]), past: pasts?.[index], index }
      hidden = gatedDecoderLayer(net.at(`layers.${index}`), shape, hidden, inputs)
    }
    const table = net.at('embed_tokens').parameter('weight', [shape.vocabulary, shape.hidden])
    return { hidden: rmsNorm(net.at('norm'), hidden, shape.hidden, shape.epsilon), table }
  })
}
