import { collect } from '../../calibration/collect.js'
import { HistogramObserver } from '../../calibration/observers.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { applyRules } from '../../ir/rewrite.js'
import { ArrayTensor } from '../../ir/tensor.js'
import { fuseAttention } from '../../nn/attention-fusion.js'
import { expandAttention, expansionObstacle } from '../../nn/attention-spelling.js'
import { Net } from '../../nn/net.js'
import type { Histogram, Range } from '../../numbers/histogram.js'
import { affineFromRange, type IntegerGrid, integerGrid, type ScaleAndZeroPoint, symmetricFromMax } from '../../numbers/quantizer.js'
import { rangeMinMax, rangeMse, rangePercentile } from '../../numbers/ranges.js'
import type { PassContext, PassResult, Refusal } from '../pass.js'
import { type Selection, selector } from '../select.js'
import type { Saturation } from './weight-codes.js'

export interface AttentionProductOptions extends Selection {
  /** `output` means `mse` here. */
  readonly ranges: 'minmax' | 'percentile' | 'mse' | 'output'
  readonly percentile: number
  readonly saturation: Saturation
}

const queryGrid = integerGrid('uint8')
/** Two of its products with unsigned 8-bit codes, 2 * 255 * 64, fit in 16 bits. */
const pairSafeGrid: IntegerGrid = { dtype: 'int8', min: -64, max: 64 }
const wholeGrid = integerGrid('int8', { symmetric: true })

/**
 * 8-bit products of queries and keys and of probabilities and values, in place. Attention is spelled out; queries become
 * unsigned codes with a zero point, keys and values symmetric signed ones, each with a range fixed by calibration;
 * probabilities take the range 0 to 1. Scores, and with them masks, stay in float.
 *
 * @param graph float32; its attentions are chosen by the names of their modules
 */
export async function quantizeAttentionProducts(
  graph: Graph,
  options: AttentionProductOptions,
  context: PassContext,
): Promise<Required<PassResult>> {
  applyRules(graph, [{ name: 'fuse-attention', at: ['Softmax'], rewrite: fuseAttention }], undefined)
  const { chosen, refused } = selectAttentions(graph, options)
  const observers = new Map(chosen.flatMap((node) => inputsOf(node).map((input) => [input, new HistogramObserver()] as const)))
  if (chosen.length) await collect(graph, observers, context.calibration!, context)
  const details = chosen.flatMap((node) => {
    const [query, key, value] = inputsOf(node).map((input) => observers.get(input)!.histogram)
    return quantizeProducts(node, graph, { query, key, value }, options)
  })
  return { changed: chosen.length, refused, details }
}

function inputsOf(node: Node): Value[] {
  return node.inputs.slice(0, 3) as Value[]
}

function selectAttentions(graph: Graph, options: Selection): { chosen: Node[]; refused: Refusal[] } {
  const selected = selector(options)
  const refused: Refusal[] = []
  const chosen = [...graph.nodes()].filter((node) => {
    if (node.type !== 'Attention' || !selected(node.name)) return false
    const why = expansionObstacle(node) ?? (node.output.dtype === 'float32' ? null : `it computes in ${node.output.dtype}`)
    if (why) refused.push({ what: node.name, why })
    return !why
  })
  return { chosen, refused }
}

interface Seen {
  readonly query: Histogram
  readonly key: Histogram
  readonly value: Histogram
}

function quantizeProducts(
  node: Node,
  graph: Graph,
  seen: Seen,
  options: AttentionProductOptions,
): Readonly<Record<string, string | number>>[] {
  const { name } = node
  const signedGrid = options.saturation === 'ignore' ? wholeGrid : pairSafeGrid
  const { scores, context } = expandAttention(node, graph)
  const query = rangeOf(seen.query, queryGrid, options, false)
  const rounding = new Rounding(new Net(graph, undefined, name))
  rounding.insert(scores, 0, 'query', affineFromRange(query.min, query.max, queryGrid), queryGrid)
  rounding.insert(context, 0, 'probabilities', { scale: Math.fround(1 / queryGrid.max), zeroPoint: 0 }, queryGrid)
  const details = [{ layer: `${name}.query`, ...query }]
  for (const [part, product] of [
    ['key', scores],
    ['value', context],
  ] as const) {
    const range = rangeOf(seen[part], signedGrid, options, true)
    rounding.insert(product, 1, part, symmetricFromMax(Math.max(range.max, -range.min), signedGrid), signedGrid)
    details.push({ layer: `${name}.${part}`, ...range })
  }
  return details
}

function rangeOf(histogram: Histogram, grid: IntegerGrid, { ranges, percentile }: AttentionProductOptions, symmetric: boolean): Range {
  if (ranges === 'minmax') return rangeMinMax(histogram)
  if (ranges === 'percentile') return rangePercentile(histogram, percentile)
  return rangeMse(histogram, grid, { symmetric })
}

/** Puts QuantizeLinear -> DequantizeLinear before inputs of products. */
class Rounding {
  readonly #net: Net

  constructor(net: Net) {
    this.#net = net
  }

  insert(product: Node, index: number, name: string, { scale, zeroPoint }: ScaleAndZeroPoint, grid: IntegerGrid): void {
    const place = { before: product }
    const zero = Int32Array.of(zeroPoint)
    const codes = grid.min < 0 ? new ArrayTensor('int8', [], Int8Array.from(zero)) : new ArrayTensor('uint8', [], Uint8Array.from(zero))
    const parameters = [this.#float(`${name}_scale`, scale), this.#net.graph.addConstant(this.#net.path(`${name}_zero_point`), codes)]
    const x = this.#clipped(product.input(index)!, name, scale, grid, product)
    const quantized = this.#net.op('QuantizeLinear', [x, ...parameters], {}, place)
    product.setInput(index, this.#net.op('DequantizeLinear', [quantized, ...parameters], {}, place))
  }

  /** QuantizeLinear knows the ends of the dtype alone, so a narrower grid needs a Clip. */
  #clipped(x: Value, name: string, scale: number, grid: IntegerGrid, before: Node): Value {
    if (grid !== pairSafeGrid) return x
    const ends = [this.#float(`${name}_min`, grid.min * scale), this.#float(`${name}_max`, grid.max * scale)]
    return this.#net.op('Clip', [x, ...ends], {}, { before })
  }

  #float(name: string, value: number): Value {
    return this.#net.graph.addConstant(this.#net.path(name), new ArrayTensor('float32', [], Float32Array.of(value)))
  }
}
