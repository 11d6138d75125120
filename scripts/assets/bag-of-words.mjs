/** Multinomial logistic regression on bags of words: what a classifier of texts must beat. */
import { Random } from '../../dist/base/random.js'
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

/** Scores become the derivatives of the cross-entropy by them. */
function differentiate(scores, label) {
  const most = Math.max(...scores)
  let sum = 0
  for (let c = 0; c < scores.length; c++) sum += Math.exp(scores[c] - most)
  for (let c = 0; c < scores.length; c++) scores[c] = Math.exp(scores[c] - most) / sum - (c === label ? 1 : 0)
}

/**
 * One row after the other by AdaGrad (Duchi et al. 2011, eq. 1, diagonal). The penalty on a word's weights is counted where the
 * word occurs, divided by how often it does.
 */
class Learner {
  constructor(rows, labels, { features, classes, penalty, rate }) {
    Object.assign(this, { rows, labels, classes, rate })
    this.weights = new Float32Array((features + 1) * classes)
    this.squares = new Float32Array((features + 1) * classes)
    this.scores = new Float64Array(classes)
    const counts = countsOf(rows.flat())
    this.decays = Float64Array.from({ length: features + 1 }, (_, i) => (i < features ? (penalty * rows.length) / counts.get(i) : 0))
  }

  /** All rows once, in an order. */
  epoch(order) {
    for (const r of order) {
      const scale = scoresOf(this.rows[r], this.weights, this.classes, this.scores)
      differentiate(this.scores, this.labels[r])
      const last = this.rows[r].length - 1
      this.rows[r].forEach((feature, i) => void this.update(feature, i < last ? scale : 1))
    }
  }

  update(feature, scale) {
    const { weights, squares, scores, classes, rate } = this
    const decay = this.decays[feature]
    for (let c = 0, at = feature * classes; c < classes; c++, at++) {
      const gradient = scale * scores[c] + decay * weights[at]
      squares[at] += gradient * gradient
      weights[at] -= (rate * gradient) / (Math.sqrt(squares[at]) + 1e-6)
    }
  }
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
 * Accuracies of the penalty and the number of epochs that are best on dev, in percent.
 *
 * @param splits by name: `{words, label}` of each sample
 */
export function bagOfWords({ train, dev, test }, classes, { penalties, epochs, rate = 0.5, least = 1, seed = 0, onPenalty = () => {} }) {
  const vocabulary = featuresOf(
    train.map(({ words }) => words),
    least,
  )
  const [trainRows, devRows, testRows] = [train, dev, test].map((split) =>
    indexed(
      split.map(({ words }) => words),
      vocabulary,
    ),
  )
  const [trainLabels, devLabels, testLabels] = [train, dev, test].map((split) => split.map(({ label }) => label))
  const random = new Random(seed)
  const found = penalties.flatMap((penalty) => {
    const learner = new Learner(trainRows, trainLabels, { features: vocabulary.size, classes, penalty, rate })
    const reached = Array.from({ length: epochs }, (_, epoch) => {
      learner.epoch(random.stream(`epoch ${epoch}`).permutation(trainRows.length))
      const [onDev, onTest] = [
        accuracy(devRows, devLabels, classes, learner.weights),
        accuracy(testRows, testLabels, classes, learner.weights),
      ]
      return { penalty, epochs: epoch + 1, dev: onDev, test: onTest }
    })
    onPenalty(bestOf(reached))
    return reached
  })
  return { ...bestOf(found), features: vocabulary.size }
}

function bestOf(found) {
  return found.reduce((a, b) => (b.dev > a.dev ? b : a))
}
