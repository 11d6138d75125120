import { describe, expect, it } from 'vitest'
import { Random } from '../../src/base/random.js'
import {
  coSentLoss,
  cosines,
  crossEntropy,
  divergence,
  nextTokenLoss,
  rankingLoss,
  relationLoss,
  relationScores,
  weightedMean,
} from '../../src/nn/losses.js'
import { average, cosineOf, evaluated, floats, int64, rowsOf, softmaxOf } from './objective-models.js'

const random = new Random(3, 'losses')
const normal = (...shape: number[]) =>
  floats(
    shape,
    random.normals(
      shape.reduce((a, b) => a * b),
      1.5,
    ),
  )

describe('cross-entropy', () => {
  const logits = normal(4, 5)
  const probabilities = rowsOf(logits).map(softmaxOf)
  const loss = (labels: number[], smoothing = 0) =>
    evaluated({ logits, labels: int64([4], labels) }, (net, { logits, labels }) => crossEntropy(net, logits, labels, { smoothing }))

  it('is the mean of -log p of the labels that count', async () => {
    const expected = average([0, 2, 3].map((row) => -Math.log(probabilities[row][row])))
    expect((await loss([0, -100, 2, 3]))[0]).toBeCloseTo(expected, 5)
  })

  it('with smoothing is that of the smoothed target', async () => {
    const smoothed = (row: number) => -probabilities[row].reduce((sum, p, c) => sum + ((c === row ? 0.9 : 0) + 0.1 / 5) * Math.log(p), 0)
    expect((await loss([0, 1, 2, 3], 0.1))[0]).toBeCloseTo(average([0, 1, 2, 3].map(smoothed)), 5)
    expect((await loss([0, -100, 2, -100], 0.1))[0]).toBeCloseTo(average([0, 2].map(smoothed)), 5)
  })

  it('of next tokens compares each token with the label after it', async () => {
    const logits = normal(2, 3, 4)
    const labels = int64([2, 3], [9, 1, 2, 9, 0, -100])
    const p = rowsOf(logits).map(softmaxOf)
    const expected = -average([Math.log(p[0][1]), Math.log(p[1][2]), Math.log(p[3][0])])
    const got = await evaluated({ logits, labels }, (net, { logits, labels }) => nextTokenLoss(net, logits, labels), {
      logits: ['batch', 'tokens', 4],
      labels: ['batch', 'tokens'],
    })
    expect(got[0]).toBeCloseTo(expected, 5)
  })
})

describe('divergence', () => {
  it('is the sum of p log(p / q) of each row', async () => {
    const [p, q] = [normal(3, 6), normal(3, 6)]
    const expected = rowsOf(p).map((row, i) => {
      const [wanted, found] = [softmaxOf(row), softmaxOf(rowsOf(q)[i])]
      return wanted.reduce((sum, each, c) => sum + each * Math.log(each / found[c]), 0)
    })
    const got = await evaluated({ p, q }, (net, { p, q }) => divergence(net, p, q))
    for (const [i, value] of got.entries()) expect(value).toBeCloseTo(expected[i], 5)
  })

  it('is zero where both are the same up to a shift', async () => {
    const p = normal(3, 6)
    const q = floats(
      [3, 6],
      Array.from(p.data as Float32Array, (x) => x + 2),
    )
    for (const value of await evaluated({ p, q }, (net, { p, q }) => divergence(net, p, q))) expect(Math.abs(value)).toBeLessThan(1e-6)
  })

  it('has a weighted mean that leaves out what weighs nothing', async () => {
    const [x, weights] = [floats([4], [1, 2, 3, 100]), floats([4], [1, 1, 2, 0])]
    expect(await evaluated({ x, weights }, (net, { x, weights }) => weightedMean(net, x, weights))).toEqual([2.25])
  })
})

describe('losses of sentence pairs', () => {
  const [a, b] = [normal(4, 6), normal(4, 6)]
  const [first, second] = [rowsOf(a), rowsOf(b)]

  it('cosines are those of the rows', async () => {
    const got = await evaluated({ a, b }, (net, { a, b }) => cosines(net, a, b))
    got.forEach((cosine, i) => void expect(cosine).toBeCloseTo(cosineOf(first[i], second[i]), 5))
  })

  it('ranking is the cross-entropy of the scaled cosine matrix', async () => {
    const oneWay = (from: number[][], to: number[][]) =>
      average(from.map((row, i) => -Math.log(softmaxOf(to.map((other) => 20 * cosineOf(row, other)))[i])))
    const symbols = { a: ['pairs', 6], b: ['pairs', 6] }
    const got = await evaluated({ a, b }, (net, { a, b }) => rankingLoss(net, a, b), symbols)
    expect(got[0]).toBeCloseTo(oneWay(first, second), 4)
    const both = await evaluated({ a, b }, (net, { a, b }) => rankingLoss(net, a, b, { symmetric: true }), symbols)
    expect(both[0]).toBeCloseTo((oneWay(first, second) + oneWay(second, first)) / 2, 4)
  })

  it('CoSENT is its closed form, and counts pairs of different labels alone', async () => {
    const [c, labels] = [
      [0.9, 0.1, 0.4, -0.2],
      [1, 3, 1, 0],
    ]
    const powers = c.flatMap((ci, i) => c.map((cj, j) => (labels[i] > labels[j] ? Math.exp(20 * (cj - ci)) : 0)))
    const sum = powers.reduce((total, power) => total + power, 1)
    const feeds = (y: number[]) => ({ c: floats([4], c), y: floats([4], y) })
    const build = (net: Parameters<typeof coSentLoss>[0], { c, y }: Record<string, Parameters<typeof coSentLoss>[1]>) =>
      coSentLoss(net, c, y)
    expect((await evaluated(feeds(labels), build, { c: ['n'], y: ['n'] }))[0]).toBeCloseTo(Math.log(sum), 4)
    expect((await evaluated(feeds([2, 2, 2, 2]), build))[0]).toBe(0)
  })
})

describe('relations between tokens', () => {
  const [batch, tokens] = [2, 5]
  const visible = { dtype: 'bool' as const, shape: [batch, 1, 1, tokens], data: Uint8Array.from([1, 1, 1, 1, 1, 1, 1, 1, 0, 0]) }
  const counted = floats([batch, tokens], [1, 1, 1, 1, 1, 1, 1, 1, 0, 0])

  /** MiniLMv2, equations 5 to 8, sequence by sequence on the tokens that are there. */
  function expectedLoss(x: ReturnType<typeof normal>, y: ReturnType<typeof normal>, heads: number): number {
    const relations = (array: ReturnType<typeof normal>, sequence: number, length: number) => {
      const rows = rowsOf(array).slice(sequence * tokens, sequence * tokens + length)
      const size = array.shape[2] / heads
      return Array.from({ length: heads }, (_, head) => {
        const own = rows.map((row) => row.slice(head * size, (head + 1) * size))
        return own.map((row) => softmaxOf(own.map((other) => row.reduce((sum, each, i) => sum + each * other[i], 0) / Math.sqrt(size))))
      })
    }
    const sequences = [5, 3].map((length, sequence) => {
      const [wanted, found] = [relations(x, sequence, length), relations(y, sequence, length)]
      const rows = wanted.flatMap((head, h) =>
        head.map((row, t) => row.reduce((sum, p, column) => sum + p * Math.log(p / found[h][t][column]), 0)),
      )
      return average(rows)
    })
    return average(sequences)
  }

  const loss = (x: ReturnType<typeof normal>, y: ReturnType<typeof normal>, heads: number) =>
    evaluated({ x, y, visible, counted }, (net, { x, y, visible, counted }) =>
      relationLoss(net, relationScores(net, x, x, [heads, heads], visible), relationScores(net, y, y, [heads, heads], visible), counted),
    )

  it('compare models of different widths, each sequence by its own length', async () => {
    const [x, y] = [normal(batch, tokens, 16), normal(batch, tokens, 8)]
    for (const heads of [1, 2, 4]) expect((await loss(x, y, heads))[0]).toBeCloseTo(expectedLoss(x, y, heads), 4)
  })

  it('do not see padding', async () => {
    const [x, y] = [normal(batch, tokens, 8), normal(batch, tokens, 8)]
    const moved = floats(
      y.shape,
      Array.from(y.data as Float32Array, (value, i) => (i >= (tokens + 3) * 8 ? value + 3 : value)),
    )
    expect((await loss(x, moved, 2))[0]).toBeCloseTo((await loss(x, y, 2))[0], 6)
  })

  it('stay the same when the vectors of a head are rotated, and change when heads are mixed', async () => {
    const x = normal(batch, tokens, 4)
    const rotate = (pairs: readonly (readonly [number, number])[]) => {
      const [c, s] = [Math.cos(0.7), Math.sin(0.7)]
      const rows = rowsOf(x).map((row) => {
        const turned = [...row]
        for (const [i, j] of pairs) [turned[i], turned[j]] = [c * row[i] - s * row[j], s * row[i] + c * row[j]]
        return turned
      })
      return floats(x.shape, rows.flat())
    }
    const within = rotate([
      [0, 1],
      [2, 3],
    ])
    const across = rotate([[1, 2]])
    expect(Math.abs((await loss(x, within, 2))[0])).toBeLessThan(1e-5)
    expect((await loss(x, across, 2))[0]).toBeGreaterThan(1e-2)
  })

  it('with shared heads are those of repeated ones', async () => {
    const [x, y] = [normal(1, 3, 8), normal(1, 3, 4)]
    const repeated = floats(
      [1, 3, 8],
      rowsOf(y).flatMap((row) => [...row.slice(0, 2), ...row.slice(0, 2), ...row.slice(2), ...row.slice(2)]),
    )
    const scores = (keys: typeof y, kvHeads: number) =>
      evaluated({ x, keys }, (net, { x, keys }) => relationScores(net, x, keys, [4, kvHeads], null))
    expect(await scores(y, 2)).toEqual(await scores(repeated, 4))
  })
})
