/** Losses of classification. */
import type { Node } from '../ir/node.js'
import { type NDArray, numbersOf, sizeOf } from '../numbers/dtype.js'
import { logSoftmax } from './activation.js'
import { factsAt, type InputFacts } from './facts.js'
import * as gradients from './gradients/loss.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import { arrayOf, required } from './support.js'

/** A scalar, or the targets' shape where nothing is reduced. */
function lossFacts(node: Node, inputs: InputFacts): ValueFacts {
  return { dtype: factsAt(inputs, 0).dtype, shape: node.string('reduction', 'mean') === 'none' ? factsAt(inputs, 1).shape : [] }
}

/** The loss of log probabilities [batch, classes, ...] against targets [batch, ...]. */
function negativeLogLikelihood(
  node: Node,
  logProbabilities: Float64Array,
  x: NDArray,
  targets: NDArray,
  weights?: NDArray | null,
): NDArray {
  const [classes, inner] = [x.shape[1], sizeOf(x.shape.slice(2))]
  const [labels, weightOf, ignored] = [numbersOf(targets), weights && numbersOf(weights), node.int('ignore_index')]
  const losses = new Float64Array(labels.length)
  let total = 0
  for (let i = 0; i < labels.length; i++) {
    if (labels[i] === ignored) continue
    const label = labels[i] < 0 ? labels[i] + classes : labels[i]
    const weight = weightOf ? weightOf[label] : 1
    losses[i] = -weight * logProbabilities[(Math.floor(i / inner) * classes + label) * inner + (i % inner)]
    total += weight
  }
  const reduction = node.string('reduction', 'mean')
  if (reduction === 'none') return arrayOf(x.dtype, targets.shape, losses)
  const sum = losses.reduce((a, b) => a + b, 0)
  return arrayOf(x.dtype, [], [reduction === 'mean' ? sum / total : sum])
}

/** Log softmax over the classes of [batch, classes, ...]. */
function logProbabilitiesOf(x: NDArray): Float64Array {
  const [classes, inner, values] = [x.shape[1], sizeOf(x.shape.slice(2)), Float64Array.from(numbersOf(x))]
  const row = new Float64Array(classes)
  for (let start = 0; start < values.length; start += classes * inner)
    for (let i = start; i < start + inner; i++) {
      for (let c = 0; c < classes; c++) row[c] = values[i + c * inner]
      logSoftmax(row)
      for (let c = 0; c < classes; c++) values[i + c * inner] = row[c]
    }
  return values
}

const negativeLogLikelihoodLoss = operator({
  name: 'NegativeLogLikelihoodLoss',
  since: 12,
  gradient: gradients.negativeLogLikelihoodLoss,
  infer: (node, inputs) => [lossFacts(node, inputs)],
  evaluate: (node, inputs) => {
    const x = required(inputs, 0)
    return [negativeLogLikelihood(node, Float64Array.from(numbersOf(x)), x, required(inputs, 1), inputs[2])]
  },
})

const softmaxCrossEntropyLoss = operator({
  name: 'SoftmaxCrossEntropyLoss',
  since: 12,
  gradient: gradients.softmaxCrossEntropyLoss,
  infer: (node, inputs) => [lossFacts(node, inputs), { dtype: factsAt(inputs, 0).dtype, shape: factsAt(inputs, 0).shape }],
  evaluate: (node, inputs) => {
    const x = required(inputs, 0)
    const logProbabilities = logProbabilitiesOf(x)
    const loss = negativeLogLikelihood(node, logProbabilities, x, required(inputs, 1), inputs[2])
    return [loss, arrayOf(x.dtype, x.shape, logProbabilities)]
  },
})

/** Losses of the standard. */
export const losses: readonly Operator[] = [negativeLogLikelihoodLoss, softmaxCrossEntropyLoss]
