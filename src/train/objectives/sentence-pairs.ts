/** Pairs of sentences: both texts go through one graph, the first ones in the first half of the rows. */
import { badInput } from '../../base/errors.js'
import type { TextSample } from '../../data/index.js'
import { int } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import { coSentLoss, cosines, meanSquare, type RankingOptions, rankingLoss } from '../../nn/losses.js'
import { meanPool } from '../../nn/masks.js'
import type { Net } from '../../nn/net.js'
import { ndarray } from '../../numbers/dtype.js'
import type { Objective } from '../objective.js'
import { outputOf, sharedInput, valueNamed } from './graph-values.js'
import { TextInputs, type TextModel } from './text-inputs.js'

export interface CosineRegressionOptions extends TextModel {
  /** The labels that mean a cosine of 0 and of 1. Default [0, 1]; STS-B: [0, 5]. */
  readonly range?: readonly [number, number]
}

/**
 * The mean squared difference between the cosine of two texts' embeddings and their label, scaled to 0..1.
 *
 * @throws TinsmithError `bad-input` when the model gives neither `sentence_embedding` nor token vectors; `usage` for a length
 * that it does not read
 * Source: Reimers and Gurevych 2019, section 3.
 * @example
 * const objective = cosineRegression({ tokenizer, graph: model.graph, config: model.config, range: [0, 5] })
 */
export function cosineRegression({ range: [low, high] = [0, 1], ...model }: CosineRegressionOptions): Objective<TextSample> {
  const score = (sample: TextSample) => {
    const label = numberOf(sample)
    if (label >= low && label <= high) return (label - low) / (high - low)
    throw badInput(`the label ${label} is not between ${low} and ${high}`, { where: 'the training data', hint: 'Set range.' })
  }
  return scoredPairs('cosine-regression', model, score, (net, first, second, scores) =>
    meanSquare(net, cosines(net, first, second), scores),
  )
}

export interface CoSentOptions extends TextModel {
  /** Factor of the cosines. Default 20. */
  readonly scale?: number
}

/**
 * CoSENT: pairs with higher labels must have higher cosines; labels are numbers of any range. See {@link coSentLoss}.
 *
 * @throws TinsmithError as {@link cosineRegression}
 */
export function coSent({ scale = 20, ...model }: CoSentOptions): Objective<TextSample> {
  return scoredPairs('cosent', model, numberOf, (net, first, second, scores) => coSentLoss(net, cosines(net, first, second), scores, scale))
}

export interface MultipleNegativesRankingOptions extends TextModel, RankingOptions {}

/**
 * Pairs that belong together, with the second texts of the other pairs of a batch as negatives. Labels do not count.
 * See {@link rankingLoss}.
 *
 * @throws TinsmithError as {@link cosineRegression}
 */
export function multipleNegativesRanking({ scale, symmetric, ...model }: MultipleNegativesRankingOptions): Objective<TextSample> {
  const inputs = new TextInputs(model)
  embeddingOf(model.graph)
  return {
    name: 'multiple-negatives-ranking',
    check: requirePairs,
    loss: (net) => rankingLoss(net, ...halves(net), { scale, symmetric }),
    async batch(samples) {
      if (samples.length < 2) throw badInput('one pair has no others to be told from', { hint: 'Set batchSize to 2 or more.' })
      return pairFeeds(inputs, samples)
    },
  }
}

function scoredPairs(
  name: string,
  model: TextModel,
  scoreOf: (sample: TextSample) => number,
  loss: (net: Net, first: Value, second: Value, scores: Value) => Value,
): Objective<TextSample> {
  const inputs = new TextInputs(model)
  embeddingOf(model.graph)
  return {
    name,
    check(samples) {
      requirePairs(samples)
      const scores = samples.map(scoreOf)
      if (scores.every((score) => score === scores[0]))
        throw badInput(`all ${samples.length} pairs have the label ${samples[0]?.label}, and training needs different ones`)
    },
    loss: (net) => loss(net, ...halves(net), sharedInput(net, 'labels', 'float32', ['pairs'])),
    async batch(samples) {
      return { ...pairFeeds(inputs, samples), labels: ndarray('float32', [samples.length], samples.map(scoreOf)) }
    },
  }
}

function pairFeeds(inputs: TextInputs, samples: readonly TextSample[]) {
  requirePairs(samples)
  const rows = samples.map((sample) => inputs.apart(sample))
  return inputs.feeds([...rows.map(([first]) => first), ...rows.map(([, second]) => second)])
}

/** The embeddings of the first and of the second texts, [pairs, size] each. */
function halves(net: Net): [Value, Value] {
  const embedding = embeddingOf(net.graph)
  const rows = embedding.shape!.length === 2 ? embedding : meanPool(net, embedding, valueNamed(net.graph, 'attention_mask'))
  const pairs = net.op('Reshape', [rows, net.ints([2, -1, Number(rows.shape!.at(-1))])])
  const half = (index: number) => net.op('Gather', [pairs, net.ints(index)], { axis: int(0) })
  return [half(0), half(1)]
}

/** What stands for a text: its embedding, or the vectors of its tokens. */
function embeddingOf(graph: Graph): Value {
  if (graph.outputs.some(({ name }) => name === 'sentence_embedding')) return outputOf(graph, 'embeddings', ['sentence_embedding'], 2)
  return outputOf(graph, 'embeddings', ['last_hidden_state', 'token_embeddings'], 3)
}

function requirePairs(samples: readonly TextSample[]): void {
  const other = samples.find(({ texts }) => texts.length !== 2)
  if (other) throw badInput(`"${other.texts[0]?.slice(0, 40)}" is no pair of texts`, { where: 'the training data' })
}

function numberOf({ texts, label }: TextSample): number {
  if (typeof label === 'number' && Number.isFinite(label)) return label
  throw badInput(`"${texts[0].slice(0, 40)}" has ${label === undefined ? 'no label' : `the label "${label}"`} where a number is expected`, {
    where: 'the training data',
  })
}
