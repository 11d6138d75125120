/** Multinomial logistic regression on bags of words: what a classifier of texts must beat. */
import { countsOf } from './merges.mjs'

/** Words that occur at least `least` times, by index. */
function featuresOf(rows, least) {
  const counts = countsOf(rows.flatMap((words) => [...new Set(words)]))
  return new Map([...counts].filter(([, count]) => count >= least).map(([word], i) => [word, i]))
}

/** Each row as the indexes of its words, the last one for the bias. */
function indexed(rows, features) {
  return rows.map((words) =>
    [...new Set(words)]
      .map((word) => features.get(word))
      .filter((i) => i !== undefined)
      .concat(features.size),
  )
}

/** Class scores of a row of length 1 (Euclidean), the bias aside. */
function scoresOf(row, weights, classes, scores) {
  const bias = row.at(-1) * classes
  const scale = 1 / Math.sqrt(Math.max(1, row.length - 1))
  for (let c = 0; c < classes; c++) scores[c] = weights[bias + c]
  for (let i = 0; i < row.length - 1; i++) for (let c = 0, at = row[i] * classes; c < classes; c++) scores[c] += scale * weights[at + c]
  return scale
}

/** Mean cross-entropy plus half the penalty times the squared weights, and its gradient. */
function objective(rows, labels, classes, penalty, weights, gradient) {
  gradient.fill(0)
  const scores = new Float64Array(classes)
  let loss = 0
  rows.forEach((row, r) => {
    const scale = scoresOf(row, weights, classes, scores)
    const most = Math.max(...scores)
    let sum = 0
    for (let c = 0; c < classes; c++) sum += Math.exp(scores[c] - most)
    loss += (most + Math.log(sum) - scores[labels[r]]) / rows.length
    for (let c = 0; c < classes; c++) scores[c] = (Math.exp(scores[c] - most) / sum - (c === labels[r] ? 1 : 0)) / rows.length
    for (let i = 0; i < row.length - 1; i++) for (let c = 0, at = row[i] * classes; c < classes; c++) gradient[at + c] += scale * scores[c]
    for (let c = 0, at = row.at(-1) * classes; c < classes; c++) gradient[at + c] += scores[c]
  })
  for (let i = 0; i < weights.length - classes; i++) {
    loss += (penalty / 2) * weights[i] ** 2
    gradient[i] += penalty * weights[i]
  }
  return loss
}

function dot(a, b) {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i]
  return sum
}

/** The two-loop recursion: Nocedal and Wright 2006, Algorithm 7.4. */
function direction(gradient, history) {
  const q = gradient.slice()
  const factors = history.map(() => 0)
  for (let k = history.length - 1; k >= 0; k--) {
    const { change, difference, product } = history[k]
    factors[k] = dot(change, q) / product
    for (let i = 0; i < q.length; i++) q[i] -= factors[k] * difference[i]
  }
  const last = history.at(-1)
  const scale = last ? last.product / dot(last.difference, last.difference) : 1
  for (let i = 0; i < q.length; i++) q[i] *= scale
  history.forEach(({ change, difference, product }, k) => {
    const factor = factors[k] - dot(difference, q) / product
    for (let i = 0; i < q.length; i++) q[i] += factor * change[i]
  })
  return q
}

/** Minimizes from `weights` by L-BFGS with ten memories and halved steps, until the loss falls by less than 1e-5 of itself. */
function minimize(evaluate, weights, most = 80) {
  const history = []
  let gradient = new Float32Array(weights.length)
  let loss = evaluate(weights, gradient)
  for (let iteration = 0; iteration < most; iteration++) {
    const step = direction(gradient, history)
    const slope = dot(step, gradient)
    const nextGradient = new Float32Array(weights.length)
    const next = new Float32Array(weights.length)
    let nextLoss = Number.POSITIVE_INFINITY
    for (let length = 1; length > 1e-6 && nextLoss > loss - 1e-4 * length * slope; length /= 2) {
      for (let i = 0; i < next.length; i++) next[i] = weights[i] - length * step[i]
      nextLoss = evaluate(next, nextGradient)
    }
    if (!(nextLoss < loss)) break
    const change = next.map((x, i) => x - weights[i])
    const difference = nextGradient.map((x, i) => x - gradient[i])
    history.push({ change, difference, product: dot(change, difference) })
    if (history.length > 10) history.shift()
    const settled = loss - nextLoss < 1e-5 * loss
    ;[weights, gradient, loss] = [next, nextGradient, nextLoss]
    if (settled) break
  }
  return weights
}

function accuracy(rows, labels, classes, weights) {
  const scores = new Float64Array(classes)
  let right = 0
  rows.forEach((row, r) => {
    scoresOf(row, weights, classes, scores)
    if (scores.indexOf(Math.max(...scores)) === labels[r]) right++
  })
  return (100 * right) / rows.length
}

/**
 * Accuracies of the penalty that is best on dev, in percent.
 *
 * @param splits by name: `{words, label}` of each sample
 * @param penalties from the largest; each begins where the one before ended
 */
export function bagOfWords({ train, dev, test }, classes, { penalties, least = 1, onPenalty = () => {} }) {
  const features = featuresOf(
    train.map(({ words }) => words),
    least,
  )
  const [trainRows, devRows, testRows] = [train, dev, test].map((split) =>
    indexed(
      split.map(({ words }) => words),
      features,
    ),
  )
  const [trainLabels, devLabels, testLabels] = [train, dev, test].map((split) => split.map(({ label }) => label))
  let weights = new Float32Array((features.size + 1) * classes)
  let best = null
  for (const penalty of penalties) {
    weights = minimize((at, gradient) => objective(trainRows, trainLabels, classes, penalty, at, gradient), weights)
    const found = { penalty, dev: accuracy(devRows, devLabels, classes, weights), test: accuracy(testRows, testLabels, classes, weights) }
    onPenalty(found)
    if (!best || found.dev > best.dev) best = found
  }
  return { ...best, features: features.size }
}
