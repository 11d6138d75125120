import type { Session } from '../../engine/session.js'
import { int } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import { Net } from '../../nn/net.js'
import { ndarray } from '../../numbers/dtype.js'
import type { Range } from '../../numbers/histogram.js'
import { affineFromRange, type IntegerGrid } from '../../numbers/quantizer.js'
import type { PassContext } from '../pass.js'

/** A sample of a linear's inputs with what it makes of them in float. */
export interface LinearSample {
  /** [rows, inputs] */
  readonly x: Float32Array
  /** Dequantized weight, [inputs, outputs]. */
  readonly weight: Float32Array
  /** x times the float weight, [rows, outputs]. */
  readonly y: Float32Array
  readonly inputs: number
  readonly outputs: number
}

/**
 * Measures what quantizing a linear's input does to its output, on the engine: the sum over rows of
 * |q(x) W - y|^2 / |y|^2, so that no single long row decides.
 */
export class OutputError {
  readonly #session: Session
  readonly #product: Session

  private constructor(session: Session, product: Session) {
    this.#session = session
    this.#product = product
  }

  static async open(context: PassContext): Promise<OutputError> {
    return new OutputError(await context.open(errorGraph()), await context.open(productGraph()))
  }

  /** x W, [rows, outputs]. */
  async product(x: Float32Array, weight: Float32Array, inputs: number, outputs: number): Promise<Float32Array> {
    const { y } = await this.#product.run({ x: matrix(x, inputs), w: matrix(weight, outputs) })
    return y.data as Float32Array
  }

  /** The error when inputs are clipped to a range, and the mean error of each output over rows that are not special. */
  async measure(
    { x, weight, y, inputs, outputs }: LinearSample,
    range: Range,
    grid: IntegerGrid,
  ): Promise<{ error: number; difference: Float32Array }> {
    const { scale, zeroPoint } = affineFromRange(range.min, range.max, grid)
    const feeds = {
      x: matrix(x, inputs),
      w: matrix(weight, outputs),
      y: matrix(y, outputs),
      scale: ndarray('float32', [], [scale]),
      zero: ndarray('uint8', [], [zeroPoint]),
    }
    const result = await this.#session.run(feeds)
    return { error: (result['error'].data as Float32Array)[0], difference: result['difference'].data as Float32Array }
  }

  async close(): Promise<void> {
    await this.#session.dispose()
    await this.#product.dispose()
  }
}

function matrix(data: Float32Array, columns: number) {
  return { dtype: 'float32' as const, shape: [data.length / columns, columns], data }
}

function errorGraph(): Graph {
  const net = new Net()
  const x = net.input('x', 'float32', ['rows', 'inputs'])
  const w = net.input('w', 'float32', ['inputs', 'outputs'])
  const y = net.input('y', 'float32', ['rows', 'outputs'])
  const parameters = [net.input('scale', 'float32', []), net.input('zero', 'uint8', [])]
  const rounded = net.op('DequantizeLinear', [net.op('QuantizeLinear', [x, ...parameters]), ...parameters])
  const difference = net.op('Sub', [y, net.op('MatMul', [rounded, w])])
  const perRow = (value: typeof y) => net.op('ReduceSumSquare', [value, net.ints([1])], { keepdims: int(0) })
  const relative = net.op('Div', [perRow(difference), net.op('Add', [perRow(y), net.float(1e-12)])])
  net.output('error', net.op('ReduceSum', [relative, net.ints([0])], { keepdims: int(0) }))
  net.output('difference', difference)
  return net.graph
}

function productGraph(): Graph {
  const net = new Net()
  net.output('y', net.op('MatMul', [net.input('x', 'float32', ['rows', 'inputs']), net.input('w', 'float32', ['inputs', 'outputs'])]))
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
