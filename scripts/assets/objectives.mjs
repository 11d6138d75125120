/** What the package's objectives need around them here: groups of like length, hidden tokens beside classes, moved pictures. */
import { Random } from '../../dist/base/random.js'
import { tiedHead } from '../../dist/nn/layers.js'
import { crossEntropy, ignoredLabel } from '../../dist/nn/losses.js'
import { ndarray } from '../../dist/numbers/dtype.js'

/**
 * Groups of `size` samples of like length, so that a batch holds little padding: for each epoch all samples in an order of its
 * own, sorted by length in pools of 50 groups.
 */
export function groupsByLength(samples, { size, epochs, seed }) {
  const random = new Random(seed).stream('groups')
  const pool = 50 * size
  return Array.from({ length: epochs }, (_, epoch) => {
    const order = random.stream(`epoch ${epoch}`).permutation(samples.length)
    const groups = []
    for (let start = 0; start < order.length; start += pool) {
      const sorted = order.slice(start, start + pool).sort((a, b) => samples[a].ids.length - samples[b].ids.length || a - b)
      for (let at = 0; at + size <= sorted.length; at += size) groups.push(sorted.slice(at, at + size).map((i) => samples[i]))
    }
    return groups
  }).flat()
}

/** The same objective for samples that come in groups; ids of theirs become plain lists. */
export function grouped(objective) {
  const plain = (groups) => groups.flat().map((sample) => ({ ...sample, ids: Array.from(sample.ids) }))
  return {
    ...objective,
    check: objective.check && ((groups) => objective.check(groups.flat())),
    batch: (groups, random) => objective.batch(plain(groups), random),
  }
}

/**
 * Classes of texts some tokens of which are hidden, and the hidden tokens beside: one pass trains both. Hidden tokens are told by
 * the embedding's own table.
 *
 * @param classes classification, on a graph with BERT's pooler
 * @param hidden masked language modelling, for its batches
 * @param weight of the hidden tokens' loss
 */
export function withHiddenTokens(classes, hidden, weight) {
  const [projection, bias] = ['hidden_tokens.weight', 'hidden_tokens.bias']
  return {
    ...classes,
    parameters: [projection, bias],
    loss(net) {
      const { graph } = net
      const [{ node: pooler }] = graph.constants.get('bert.pooler.dense.weight').uses
      const states = pooler.inputs[0].producer.inputs[0]
      const table = graph.constants.get('bert.embeddings.word_embeddings.weight')
      const [vocabulary, width] = table.shape
      const rows = net.op('Reshape', [states, net.ints([-1, width])])
      const chosen = net.op('Gather', [rows, net.input('hidden_places', 'int64', ['hidden'])])
      const start = new Random(0).stream(projection).normals(width * width, 1 / Math.sqrt(width))
      const projected = net.op('MatMul', [chosen, net.floats(projection, [width, width], start)])
      const logits = net.op('Add', [tiedHead(net, projected, table), net.floats(bias, [vocabulary], new Float32Array(vocabulary))])
      const guessed = crossEntropy(net, logits, net.input('hidden_labels', 'int64', ['hidden']))
      return net.op('Add', [classes.loss(net), net.op('Mul', [guessed, net.float(weight)])])
    },
    async batch(samples, random) {
      const { labels: tokens, ...feeds } = await hidden.batch(samples, random)
      const { labels } = await classes.batch(samples, random)
      const places = [...tokens.data.keys()].filter((at) => Number(tokens.data[at]) !== ignoredLabel)
      const list = (numbers) => ndarray('int64', [numbers.length], numbers)
      return { ...feeds, labels, hidden_places: list(places), hidden_labels: list(places.map((at) => Number(tokens.data[at]))) }
    },
  }
}

/** How far pictures are moved at most: pixels, radians, and a share of their size. */
const most = { shift: 2, turn: 0.2, stretch: 0.1 }

/** Image classification on pictures moved, turned and stretched a little, what comes in being black. */
export function moved(objective) {
  return {
    ...objective,
    batch: (samples, random) =>
      objective.batch(
        samples.map((sample) => ({ ...sample, image: movedImage(sample.image, random) })),
        random,
      ),
  }
}

function movedImage(image, random) {
  const { width, height } = image
  const within = (limit) => (2 * random.uniform() - 1) * limit
  const [right, down, turn, stretch] = [within(most.shift), within(most.shift), within(most.turn), 1 + within(most.stretch)]
  const [cosine, sine] = [Math.cos(turn) / stretch, Math.sin(turn) / stretch]
  const [middleX, middleY] = [(width - 1) / 2, (height - 1) / 2]
  const data = Uint8Array.from({ length: width * height }, (_, at) => {
    const [x, y] = [(at % width) - middleX - right, Math.floor(at / width) - middleY - down]
    return pixelAt(image, middleX + cosine * x + sine * y, middleY - sine * x + cosine * y)
  })
  return { ...image, data }
}

/** Between four pixels, each counting by its nearness. */
function pixelAt({ width, height, data }, x, y) {
  const [left, top] = [Math.floor(x), Math.floor(y)]
  const at = (column, row) => (column >= 0 && column < width && row >= 0 && row < height ? data[row * width + column] : 0)
  const upper = at(left, top) + (x - left) * (at(left + 1, top) - at(left, top))
  const lower = at(left, top + 1) + (x - left) * (at(left + 1, top + 1) - at(left, top + 1))
  return Math.round(upper + (y - top) * (lower - upper))
}
