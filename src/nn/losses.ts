/** Scalar losses for training: means over what counts. */
import { int, ints, string } from '../ir/attribute.js'
import type { Value } from '../ir/node.js'
import { normalizeRows } from './masks.js'
import type { Net } from './net.js'

/** The label of what does not count, as in the Hugging Face libraries. */
export const ignoredLabel = -100

/** The score of what a softmax may not see: e to its power is 0, and differences of such scores are finite. */
const hiddenScore = -1e9

export interface CrossEntropyOptions {
  /** Share of the target that is spread evenly over all classes (Szegedy et al. 2016). Default 0. */
  readonly smoothing?: number
}

/**
 * The mean cross-entropy of logits [..., classes] against int64 labels [...]; labels of -100 do not count.
 *
 * @example
 * const loss = crossEntropy(net, logits, net.input('labels', 'int64', ['batch']))
 */
export function crossEntropy(net: Net, logits: Value, labels: Value, { smoothing = 0 }: CrossEntropyOptions = {}): Value {
  const classes = Number(logits.shape!.at(-1))
  const rows = logits.shape!.length === 2 ? logits : net.op('Reshape', [logits, net.ints([-1, classes])])
  const flat = labels.shape!.length === 1 ? labels : net.op('Reshape', [labels, net.ints([-1])])
  const loss = net.op('SoftmaxCrossEntropyLoss', [rows, flat], { reduction: string('mean'), ignore_index: int(ignoredLabel) })
  if (!smoothing) return loss
  const even = net.op('Neg', [reduced(net, 'ReduceMean', logProbabilities(net, rows), -1)])
  const counted = net.op('Cast', [net.op('Not', [net.op('Equal', [flat, net.ints(ignoredLabel)])])], { to: int(1) })
  return net.op('Add', [times(net, loss, 1 - smoothing), times(net, weightedMean(net, even, counted), smoothing)])
}

/** The mean cross-entropy of the logits [batch, tokens, vocabulary] of each token against the next token's label [batch, tokens]. */
export function nextTokenLoss(net: Net, logits: Value, labels: Value): Value {
  const shorter = (x: Value, from: number, to: number): Value => net.op('Slice', [x, net.ints([from]), net.ints([to]), net.ints([1])])
  const end = 2 ** 31 - 1
  return crossEntropy(net, shorter(logits, 0, -1), shorter(labels, 1, end))
}

/** The mean over all elements. */
export function mean(net: Net, x: Value): Value {
  return net.op('ReduceMean', [x], { keepdims: int(0) })
}

/** The mean of x, each element counted by a weight of the same shape. */
export function weightedMean(net: Net, x: Value, weights: Value): Value {
  return net.op('Div', [sum(net, net.op('Mul', [x, weights])), sum(net, weights)])
}

/** The mean of the squared differences. */
export function meanSquare(net: Net, x: Value, target: Value): Value {
  return mean(net, squaredDifference(net, x, target))
}

/** The squared differences, element by element. */
export function squaredDifference(net: Net, x: Value, target: Value): Value {
  const difference = net.op('Sub', [x, target])
  return net.op('Mul', [difference, difference])
}

/** x times a number. */
export function times(net: Net, x: Value, factor: number): Value {
  return factor === 1 ? x : net.op('Mul', [x, net.float(factor)])
}

/**
 * Kullback and Leibler's divergence KL(target || estimate) of two softmaxes over the last axis, in nats, from their logits
 * [..., classes]: [...].
 */
export function divergence(net: Net, target: Value, estimate: Value): Value {
  const wanted = logProbabilities(net, target)
  const difference = net.op('Sub', [wanted, logProbabilities(net, estimate)])
  return reduced(net, 'ReduceSum', net.op('Mul', [net.op('Exp', [wanted]), difference]), -1)
}

/** The cosine of each row of a [rows, size] and the same row of b: [rows]. */
export function cosines(net: Net, a: Value, b: Value): Value {
  return reduced(net, 'ReduceSum', net.op('Mul', [normalizeRows(net, a), normalizeRows(net, b)]), -1)
}

export interface RankingOptions {
  /** Factor of the cosines. Default 20. */
  readonly scale?: number
  /** Rank the first texts for each second one too. Default false. */
  readonly symmetric?: boolean
}

/**
 * Ranking with in-batch negatives: the cross-entropy of the scaled cosines of each row of a [rows, size] with all rows of b,
 * where its own row is the right class.
 *
 * Source: Henderson et al. 2017, section 4.4; called MultipleNegativesRankingLoss in sentence-transformers.
 */
export function rankingLoss(net: Net, a: Value, b: Value, { scale = 20, symmetric = false }: RankingOptions = {}): Value {
  const [left, right] = [normalizeRows(net, a), normalizeRows(net, b)]
  const labels = positions(net, a, 0)
  const oneWay = (from: Value, to: Value): Value => {
    const products = net.op('MatMul', [from, net.op('Transpose', [to], { perm: ints([1, 0]) })])
    return crossEntropy(net, times(net, products, scale), labels)
  }
  if (!symmetric) return oneWay(left, right)
  return times(net, net.op('Add', [oneWay(left, right), oneWay(right, left)]), 0.5)
}

/**
 * CoSENT: log(1 + sum of e^(scale (c_j - c_i)) over all pairs of rows with label_i > label_j), so that cosines are ordered as
 * the labels are.
 *
 * @param cosines [rows]
 * @param labels float32 [rows]
 * Source: Su 2022; called CoSENTLoss in sentence-transformers.
 */
export function coSentLoss(net: Net, cosines: Value, labels: Value, scale = 20): Value {
  const [column, row] = [(x: Value) => net.op('Unsqueeze', [x, net.ints([1])]), (x: Value) => net.op('Unsqueeze', [x, net.ints([0])])]
  const scaled = times(net, cosines, scale)
  const ordered = net.op('Greater', [column(labels), row(labels)])
  const differences = net.op('Where', [ordered, net.op('Sub', [row(scaled), column(scaled)]), net.float(hiddenScore)])
  const zero = net.floats('float_list_0', [1], [0])
  const all = net.op('Concat', [zero, net.op('Reshape', [differences, net.ints([-1])])], { axis: int(0) })
  return reduced(net, 'ReduceLogSumExp', all, 0)
}

/**
 * Scaled products of the vectors of all tokens with those of all others, head by head, before the softmax:
 * [batch, tokens, width] twice -> [batch, heads, tokens, tokens], divided by the root of a head's size.
 *
 * Source: MiniLMv2 (Wang et al. 2021), equation 5; with queries and keys in the attention's own heads it is attention.
 *
 * @param heads of the vectors; of y as many, or fewer that several heads of x share
 * @param visible bool, or float to be added, that broadcasts to the result: which columns count
 */
export function relationScores(net: Net, x: Value, y: Value, heads: readonly [number, number], visible: Value | null): Value {
  const size = Number(x.shape!.at(-1)) / heads[0]
  const products = net.op('MatMul', [splitHeads(net, x, heads[0], [0, 2, 1, 3]), sharedHeads(net, y, heads, size)])
  return visibleScores(net, times(net, products, 1 / Math.sqrt(size)), visible)
}

function splitHeads(net: Net, x: Value, heads: number, order: readonly number[]): Value {
  const size = Number(x.shape!.at(-1)) / heads
  return net.op('Transpose', [net.op('Reshape', [x, net.ints([0, 0, heads, size])])], { perm: ints(order) })
}

/** [batch, heads, size, tokens], each head as often as others share it. */
function sharedHeads(net: Net, y: Value, [heads, own]: readonly [number, number], size: number): Value {
  const columns = splitHeads(net, y, own, [0, 2, 3, 1])
  if (heads === own) return columns
  const group = net.op('Expand', [net.op('Unsqueeze', [columns, net.ints([2])]), net.ints([1, 1, heads / own, 1, 1])])
  return net.op('Reshape', [group, net.ints([0, heads, size, -1])])
}

function visibleScores(net: Net, scores: Value, visible: Value | null): Value {
  if (!visible) return scores
  const least = net.float(hiddenScore)
  return visible.dtype === 'bool' ? net.op('Where', [visible, scores, least]) : net.op('Add', [scores, net.op('Max', [visible, least])])
}

/**
 * The mean divergence of relations [batch, heads, tokens, tokens], given as scores: over heads and the tokens that count in
 * each sequence, then over sequences, so that short and long texts weigh the same.
 *
 * @param counted float32 [batch, tokens], 0 for padding; null: all tokens count
 */
export function relationLoss(net: Net, target: Value, estimate: Value, counted: Value | null): Value {
  const rows = reduced(net, 'ReduceMean', divergence(net, target, estimate), 1)
  if (!counted) return mean(net, rows)
  const total = reduced(net, 'ReduceSum', net.op('Mul', [rows, counted]), 1)
  return mean(net, net.op('Div', [total, reduced(net, 'ReduceSum', counted, 1)]))
}

function logProbabilities(net: Net, logits: Value): Value {
  return net.op('LogSoftmax', [logits], { axis: int(-1) })
}

function sum(net: Net, x: Value): Value {
  return net.op('ReduceSum', [x], { keepdims: int(0) })
}

function reduced(net: Net, operator: string, x: Value, axis: number): Value {
  return net.op(operator, [x, net.ints([axis])], { keepdims: int(0) })
}

/** 0, 1, 2 ... along an axis: int64. */
function positions(net: Net, x: Value, axis: number): Value {
  const count = net.op('Squeeze', [net.op('Shape', [x], { start: int(axis), end: int(axis + 1) }), net.ints([0])])
  return net.op('Range', [net.ints(0), count, net.ints(1)])
}
