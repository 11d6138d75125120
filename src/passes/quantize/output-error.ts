import type { Random } from '../../base/random.js'
import type { Session } from '../../engine/session.js'
import { int } from '../../ir/attribute.js'
import { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import { Net } from '../../nn/net.js'
import { type NDArray, ndarray } from '../../numbers/dtype.js'
import type { Range } from '../../numbers/histogram.js'
import { affineFromRange, integerGrid } from '../../numbers/quantizer.js'
import type { PassContext } from '../pass.js'
import { divideRows, multiplyColumns } from './smoothing.js'

/**
 * Rows of a linear's input, and its weight times random signs: distances between outputs are kept by a few random
 * combinations of them (Johnson and Lindenstrauss, 1984; signs by Achlioptas, 2003).
 */
export interface OutputSample {
  /** [rows, inputs] */
  readonly rows: Float32Array
  readonly inputs: number
  /** [inputs, combinations] */
  readonly projection: NDArray
  /** 1 / |output|^2 of each row, so that no single large row decides. */
  readonly rowWeights: NDArray
  /** How many combinations stand for the outputs; squared lengths are that many times larger. */
  readonly combinations: number
}

/** Combinations of outputs that stand for all of them: errors of hundreds of rows are added up, so that few are enough. */
const combinations = 128

const activationGrid = integerGrid('uint8')

/** Measures, on the engine, what quantizing the input of a linear does to its output. */
export class OutputError {
  readonly #error: Session
  readonly #product: Session

  private constructor(error: Session, product: Session) {
    this.#error = error
    this.#product = product
  }

  /** Measurements run beside each other, so that one thread for each is better than all threads for one. */
  static async open(context: PassContext): Promise<OutputError> {
    const [error, product] = await Promise.all([errorGraph(), productGraph()].map((graph) => context.open(graph, { threads: 1 })))
    return new OutputError(error, product)
  }

  /** What {@link measure} needs for all linears that read the same rows. */
  async sample(rows: Float32Array, inputs: number, weights: readonly Float32Array[], random: Random): Promise<OutputSample> {
    const parts: Float32Array[] = []
    for (const weight of weights) {
      const outputs = weight.length / inputs
      parts.push(await this.product(weight, randomSigns(random, outputs * combinations), outputs))
    }
    const projection = matrix(addUp(parts), combinations)
    const projected = await this.product(rows, projection.data as Float32Array, inputs)
    return { rows, inputs, projection, rowWeights: inverseNorms(projected), combinations }
  }

  /** Sum over rows of |q(x) W - x W|^2 / |x W|^2, where q clips to the range and rounds. */
  async measure({ rows, inputs, projection, rowWeights }: OutputSample, range: Range): Promise<number> {
    const { scale, zeroPoint } = affineFromRange(range.min, range.max, activationGrid)
    const { error } = await this.#error.run({
      x: matrix(rows, inputs),
      projection,
      weights: rowWeights,
      scale: ndarray('float32', [], [scale]),
      zero: ndarray('uint8', [], [zeroPoint]),
    })
    return (error.data as Float32Array)[0]
  }

  /** a b, for a [*, depth] and b [depth, *]. */
  async product(a: Float32Array, b: Float32Array, depth: number): Promise<Float32Array> {
    const { y } = await this.#product.run({ a: matrix(a, depth), b: matrix(b, b.length / depth) })
    return y.data as Float32Array
  }

  async close(): Promise<void> {
    await this.#error.dispose()
    await this.#product.dispose()
  }
}

/** The sample when channels are multiplied by factors and the weight's rows divided by them. */
export function scaledSample(sample: OutputSample, factors: Float32Array | null): OutputSample {
  if (!factors) return sample
  const projection = divideRows(sample.projection.data as Float32Array, factors)
  return { ...sample, rows: multiplyColumns(sample.rows, factors), projection: matrix(projection, combinations) }
}

function matrix(data: Float32Array, columns: number): NDArray {
  return { dtype: 'float32', shape: [data.length / columns, columns], data }
}

function randomSigns(random: Random, count: number): Float32Array {
  const signs = new Float32Array(count)
  for (let i = 0, bits = 0; i < count; i++, bits >>>= 1) {
    if (i % 32 === 0) bits = random.bits()
    signs[i] = bits & 1 ? 1 : -1
  }
  return signs
}

/** Combinations of the outputs of several linears: those of all of them, added up. */
function addUp(parts: readonly Float32Array[]): Float32Array {
  const [sum, ...more] = parts
  for (const part of more) for (let i = 0; i < sum.length; i++) sum[i] += part[i]
  return sum
}

function inverseNorms(projected: Float32Array): NDArray {
  const rows = projected.length / combinations
  const weights = new Float32Array(rows)
  for (let row = 0; row < rows; row++) {
    let sum = 1e-12
    for (let i = row * combinations; i < (row + 1) * combinations; i++) sum += projected[i] ** 2
    weights[row] = 1 / sum
  }
  return { dtype: 'float32', shape: [rows], data: weights }
}

function errorGraph(): Graph {
  const net = new Net(new Graph('output-error'))
  const x = net.input('x', 'float32', ['rows', 'inputs'])
  const projection = net.input('projection', 'float32', ['inputs', 'combinations'])
  const weights = net.input('weights', 'float32', ['rows'])
  const parameters = [net.input('scale', 'float32', []), net.input('zero', 'uint8', [])]
  const rounded = net.op('DequantizeLinear', [net.op('QuantizeLinear', [x, ...parameters]), ...parameters])
  const lost = net.op('Sub', [rounded, x])
  const sumOf = (value: Value, axis: number, operator = 'ReduceSum') => net.op(operator, [value, net.ints([axis])], { keepdims: int(0) })
  const perRow = sumOf(net.op('MatMul', [lost, projection]), 1, 'ReduceSumSquare')
  net.output('error', sumOf(net.op('Mul', [perRow, weights]), 0))
  return net.graph
}

function productGraph(): Graph {
  const net = new Net(new Graph('product'))
  net.output('y', net.op('MatMul', [net.input('a', 'float32', ['rows', 'depth']), net.input('b', 'float32', ['depth', 'columns'])]))
  return net.graph
}

/** Steps by which a search moves an end of the range: coarse ones first. */
const steps = [0.7, 0.9] as const

/**
 * The range within an observed one that leaves the least error. Each end in turn moves inwards while that helps, by
 * coarse steps and then by fine ones around the best.
 */
export async function searchRange(measure: (range: Range) => Promise<number>, observed: Range): Promise<{ range: Range; error: number }> {
  let best = { range: observed, error: await measure(observed) }
  const consider = async (range: Range) => {
    const error = await measure(range)
    const better = error < best.error
    if (better) best = { range, error }
    return better
  }
  for (const step of steps)
    for (const end of ['max', 'min'] as const) {
      const moved = (factor: number) => ({ ...best.range, [end]: best.range[end] * factor })
      if (best.range[end] === 0) continue
      while (await consider(moved(step)));
      if (step !== steps[0] && inside(moved(1 / step), observed)) await consider(moved(1 / step))
    }
  return best
}

function inside(range: Range, whole: Range): boolean {
  return range.min >= whole.min && range.max <= whole.max
}
