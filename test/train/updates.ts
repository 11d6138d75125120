/** The published updates in plain TypeScript and float64, for one parameter. */

export type Matrix = readonly (readonly number[])[]

export interface Step {
  readonly step: number
  readonly learningRate: number
  readonly weightDecay: number
}

/** The parameter after a step; keeps its state. */
export type Reference = (parameter: Matrix, gradient: Matrix, step: Step) => Matrix

const zeros = (rows: number, columns: number): number[][] => Array.from({ length: rows }, () => new Array<number>(columns).fill(0))
const like = (m: Matrix) => zeros(m.length, m[0].length)
export const map = (m: Matrix, f: (x: number, i: number, j: number) => number): number[][] =>
  m.map((row, i) => row.map((x, j) => f(x, i, j)))
const sum = (m: Matrix) => m.flat().reduce((a, b) => a + b, 0)
export const norm = (m: Matrix) => Math.sqrt(sum(map(m, (x) => x * x)))
const rms = (m: Matrix) => norm(m) / Math.sqrt(m.length * m[0].length)
const times = (a: Matrix, b: Matrix): number[][] => a.map((row) => b[0].map((_, j) => row.reduce((s, x, k) => s + x * b[k][j], 0)))
const transposed = (m: Matrix): number[][] => m[0].map((_, j) => m.map((row) => row[j]))

/** Loshchilov and Hutter 2019, Algorithm 2. */
export function adamW(beta1: number, beta2: number, epsilon: number): Reference {
  let m: Matrix | null = null
  let v: Matrix | null = null
  return (p, g, { step, learningRate, weightDecay }) => {
    m = map(m ?? like(p), (x, i, j) => beta1 * x + (1 - beta1) * g[i][j])
    v = map(v ?? like(p), (x, i, j) => beta2 * x + (1 - beta2) * g[i][j] ** 2)
    const [a, b] = [1 - beta1 ** step, 1 - beta2 ** step]
    return map(p, (x, i, j) => x - learningRate * (m![i][j] / a / (Math.sqrt(v![i][j] / b) + epsilon) + weightDecay * x))
  }
}

/** v <- mu v + g; the step follows v, or mu v + g with the new v (Nesterov). */
export function sgd(mu: number, nesterov: boolean): Reference {
  let v: Matrix | null = null
  return (p, g, { learningRate, weightDecay }) => {
    v = map(v ?? like(p), (x, i, j) => mu * x + g[i][j])
    const direction = nesterov ? map(v, (x, i, j) => mu * x + g[i][j]) : v
    return map(p, (x, i, j) => x - learningRate * (direction[i][j] + weightDecay * x))
  }
}

/** Chen et al. 2023, Algorithm 2. */
export function lion(beta1: number, beta2: number): Reference {
  let m: Matrix | null = null
  return (p, g, { learningRate, weightDecay }) => {
    const old: Matrix = m ?? like(p)
    const direction = map(old, (x, i, j) => Math.sign(beta1 * x + (1 - beta1) * g[i][j]))
    m = map(old, (x, i, j) => beta2 * x + (1 - beta2) * g[i][j])
    return map(p, (x, i, j) => x - learningRate * (direction[i][j] + weightDecay * x))
  }
}

/** Shazeer and Stern 2018: Algorithm 4, and Algorithm 5 for matrices of one row that stand for vectors. */
export function adafactor(relative: boolean): Reference {
  let rows: number[] | null = null
  let columns: number[] | null = null
  let whole: Matrix | null = null
  return (p, g, { step, learningRate, weightDecay }) => {
    const beta = 1 - step ** -0.8
    const square = map(g, (x) => x * x + 1e-30)
    let moment: Matrix
    if (p.length === 1) moment = whole = map(whole ?? like(p), (x, i, j) => beta * x + (1 - beta) * square[i][j])
    else {
      rows = square.map((row, i) => beta * (rows?.[i] ?? 0) + (1 - beta) * sum([row]))
      columns = transposed(square).map((column, j) => beta * (columns?.[j] ?? 0) + (1 - beta) * sum([column]))
      const total = sum([rows])
      moment = map(p, (_, i, j) => (rows![i] * columns![j]) / total)
    }
    const u = map(g, (x, i, j) => x / Math.sqrt(moment[i][j]))
    const clipped = map(u, (x) => x / Math.max(1, rms(u)))
    const rate = relative ? Math.max(1e-3, rms(p)) * Math.min(learningRate, 1 / Math.sqrt(step)) : learningRate
    return map(p, (x, i, j) => x * (1 - learningRate * weightDecay) - rate * clipped[i][j])
  }
}

/** Zhu et al. 2025, Algorithm 1 with the norm-growth limiter; `projection` gives that of a step, [columns, r] or [rows, r]. */
export function apollo(granularity: 'channel' | 'tensor', scale: number, projection: (step: number) => Matrix): Reference {
  let m: Matrix | null = null
  let v: Matrix | null = null
  let last = 0
  return (p, g, { step, learningRate, weightDecay }) => {
    const tall = p.length >= p[0].length
    const sketch = tall ? times(g, projection(step)) : transposed(times(transposed(g), projection(step)))
    m = map(m ?? like(sketch), (x, i, j) => 0.9 * x + 0.1 * sketch[i][j])
    v = map(v ?? like(sketch), (x, i, j) => 0.999 * x + 0.001 * sketch[i][j] ** 2)
    const adapted = map(m, (x, i, j) => x / (Math.sqrt(v![i][j]) + 1e-6))
    const channels = (x: Matrix) => (tall ? x : transposed(x)).map((row) => norm([row]))
    const factors = channels(adapted).map((x, i) => x / (channels(sketch)[i] + 1e-8))
    const one = norm(adapted) / (norm(sketch) + 1e-8)
    const scaled = map(g, (x, i, j) => x * (granularity === 'tensor' ? one : factors[tall ? i : j]))
    const excess = last ? Math.max(norm(scaled) / (last + 1e-8), 1.01) / 1.01 : 1
    last = norm(scaled) / excess
    const rate = (learningRate * Math.sqrt(1 - 0.999 ** step)) / (1 - 0.9 ** step)
    return map(p, (x, i, j) => (x - (rate * Math.sqrt(scale) * scaled[i][j]) / excess) * (1 - learningRate * weightDecay))
  }
}
