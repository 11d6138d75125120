import { z } from 'zod'
import { anatomyOf, type Linear } from '../../anatomy/index.js'
import { collect } from '../../calibration/collect.js'
import { HistogramObserver, MomentsObserver, ObserverGroup, RowSampleObserver } from '../../calibration/observers.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import { ArrayTensor } from '../../ir/tensor.js'
import type { Range } from '../../numbers/histogram.js'
import { affineFromRange, dequantize, integerGrid } from '../../numbers/quantizer.js'
import { rangeMse, rangePercentile } from '../../numbers/ranges.js'
import { definePass, type PassContext, type Refusal } from '../pass.js'
import { selection } from '../select.js'
import { byInput, type QuantizedConstant, quantizeActivation, replaceConstant, selectLinears, selectTables } from './apply.js'
import { quantizeTables } from './embeddings.js'
import { OutputError, searchRange } from './output-error.js'
import { divideRows, scaleColumns, smoothingChoices, smoothingFactors } from './smoothing.js'
import { saturationChoices, weightCodes } from './weight-codes.js'

const options = z.strictObject({
  ...selection,
  ranges: z
    .enum(['minmax', 'percentile', 'mse', 'output'])
    .default('output')
    .describe('how activations are clipped: not, by share, by their own error, by the error of the output'),
  percentile: z.number().min(50).max(100).default(99.99).describe('share of activations kept, for ranges: percentile'),
  smoothing: z
    .boolean()
    .default(true)
    .describe('scale channels with outliers down where that lowers the error of the output (ranges: output)'),
  biasCorrection: z.boolean().default(true).describe('take the mean error of each output off its bias; special tokens do not count'),
  saturation: z
    .enum(saturationChoices)
    .default('pair-safe')
    .describe('how 16-bit sums are kept from overflowing on processors without VNNI'),
  rows: z.number().int().min(32).default(256).describe('tokens kept of each activation for searches'),
  embeddings: z.boolean().default(true).describe('word embeddings as 8-bit integers per row'),
})

type Options = z.output<typeof options>

const activationGrid = integerGrid('uint8')

/** By how much smoothing must lower the error, times 1 + inputs / outputs: the wider the input, the dearer its multiplication in each run. */
const smoothingPays = 1.2

/** 8-bit weights and activations with ranges fixed by calibration: nothing depends on what else is in a batch. */
export const staticInt8 = definePass({
  name: 'static-int8',
  summary: 'Weights as 8-bit integers per output channel, activations as 8-bit integers with ranges fixed by calibration',
  source: 'Nagel et al., A white paper on neural network quantization, 2021; bias correction of Nagel et al., 2019',
  options,
  needs: { calibration: true },
  exact: false,
  async run(model, chosen, context) {
    const refused: Refusal[] = []
    const details: Record<string, string | number>[] = []
    let changed = 0
    for (const graph of model.graphs.values()) {
      const anatomy = anatomyOf(graph)
      const { chosen: linears, refused: left } = selectLinears(anatomy, chosen)
      refused.push(...left)
      const groups = byInput(linears)
      const observed = await observe(graph, groups, chosen, context)
      const errors = await OutputError.open(context)
      const stage = context.progress.stage('choosing ranges', groups.size)
      try {
        for (const [value, readers] of groups) {
          context.signal?.throwIfAborted()
          details.push(...(await quantizeGroup(graph, value, readers, observed.get(value)!, errors, chosen)))
          stage.advance()
        }
      } finally {
        stage.end()
        await errors.close()
      }
      changed += linears.length
      if (chosen.embeddings) changed += await quantizeTables(graph, selectTables(anatomy, chosen))
    }
    return { changed, refused, details }
  },
})

interface Observed {
  readonly channels: MomentsObserver
  readonly rows: RowSampleObserver
  readonly histogram: HistogramObserver | null
}

async function observe(
  graph: Graph,
  groups: ReadonlyMap<Value, readonly Linear[]>,
  { ranges, rows }: Options,
  context: PassContext,
): Promise<Map<Value, Observed>> {
  const counts = ranges === 'mse' || ranges === 'percentile'
  const observed = new Map<Value, Observed>()
  for (const [value, [{ inputs }]] of groups)
    observed.set(value, {
      channels: new MomentsObserver(inputs),
      rows: new RowSampleObserver(inputs, rows, context.random.stream(value.name)),
      histogram: counts ? new HistogramObserver() : null,
    })
  const observers = new Map(
    [...observed].map(([value, { histogram, ...parts }]) => [value, new ObserverGroup(histogram ? { ...parts, histogram } : { ...parts })]),
  )
  await collect(graph, observers, context.calibration!, context)
  return observed
}

/** A way to quantize a linear's input: factors for its channels and a range, with the error that it leaves. */
interface Plan {
  readonly factors: Float32Array | null
  readonly range: Range
  readonly error: number
}

async function quantizeGroup(
  graph: Graph,
  value: Value,
  readers: readonly Linear[],
  observed: Observed,
  errors: OutputError,
  chosen: Options,
): Promise<Record<string, string | number>[]> {
  const weights = await Promise.all(readers.map(async (linear) => (await linear.weight.tensor!.read()) as Float32Array))
  const rows = observed.rows.rows
  const outputs: Float32Array[] = []
  for (const [i, { inputs, outputs: width }] of readers.entries()) outputs.push(await errors.product(rows, weights[i], inputs, width))
  const layers = readers.map((linear, i) => ({ linear, weight: weights[i], y: outputs[i] }))
  const plan = await choosePlan(layers, observed, errors, chosen)
  const details: Record<string, string | number>[] = []
  for (const layer of layers) {
    const { linear } = layer
    const { codes, difference, error } = await finalCodes(layer, rows, plan, errors, chosen)
    if (chosen.biasCorrection) await correctBias(graph, linear, difference, observed.rows.special)
    replaceConstant(graph, linear.weight, linear.name, codes)
    const { min, max } = plan.range
    const smoothed = plan.factors?.filter((factor) => factor < 1).length ?? 0
    details.push({ layer: linear.name, min, max, smoothed, signalToNoise: -10 * Math.log10(Math.max(error / observed.rows.count, 1e-12)) })
  }
  quantizeActivation(
    graph,
    value,
    readers,
    affineFromRange(plan.range.min, plan.range.max, activationGrid),
    `${readers[0].name}.input`,
    plan.factors,
  )
  return details
}

/** A linear with its float weight and what it makes of the sampled rows. */
interface Layer {
  readonly linear: Linear
  readonly weight: Float32Array
  readonly y: Float32Array
}

async function choosePlan(layers: readonly Layer[], observed: Observed, errors: OutputError, chosen: Options): Promise<Plan> {
  const whole = rangeOf(observed.channels)
  if (chosen.ranges === 'minmax') return { factors: null, range: whole, error: 0 }
  if (chosen.ranges === 'mse') return { factors: null, range: rangeMse(observed.histogram!.histogram, activationGrid), error: 0 }
  if (chosen.ranges === 'percentile')
    return { factors: null, range: rangePercentile(observed.histogram!.histogram, chosen.percentile), error: 0 }
  const rows = observed.rows.rows
  const plain = await searchPlan(layers, rows, whole, null, errors)
  if (!chosen.smoothing) return plain
  const plans: Plan[] = []
  for (const multiple of smoothingChoices) {
    const factors = smoothingFactors(observed.channels, multiple)
    if (factors.some((factor) => factor < 1))
      plans.push(await searchPlan(layers, rows, rangeOf(observed.channels, factors), factors, errors))
  }
  const [best] = plans.sort((a, b) => a.error - b.error)
  const dearness = 1 + layers[0].linear.inputs / layers.reduce((sum, { linear }) => sum + linear.outputs, 0)
  return best && best.error * smoothingPays * dearness < plain.error ? best : plain
}

/** The range of all channels, each times its factor. */
function rangeOf({ min, max }: MomentsObserver, factors?: Float32Array): Range {
  let [low, high] = [0, 0]
  for (let c = 0; c < min.length; c++) {
    low = Math.min(low, min[c] * (factors?.[c] ?? 1))
    high = Math.max(high, max[c] * (factors?.[c] ?? 1))
  }
  return { min: low, max: high }
}

/** The best range for given factors, with weights as plain 8-bit codes. */
async function searchPlan(
  layers: readonly Layer[],
  rows: Float32Array,
  whole: Range,
  factors: Float32Array | null,
  errors: OutputError,
): Promise<Plan> {
  const x = factors ? scaleColumns(rows, factors) : rows
  const samples = layers.map(({ linear: { inputs, outputs }, weight, y }) => {
    const { codes, parameters, layout } = weightCodes(factors ? divideRows(weight, factors, outputs) : weight, inputs, outputs, 'ignore')
    return { x, weight: dequantize(codes, parameters, layout), y, inputs, outputs }
  })
  const measure = async (range: Range) => {
    let sum = 0
    for (const sample of samples) sum += (await errors.measure(sample, range, activationGrid)).error
    return sum
  }
  return { factors, ...(await searchRange(measure, whole)) }
}

async function finalCodes(
  { linear: { inputs, outputs }, weight, y }: Layer,
  rows: Float32Array,
  { factors, range }: Plan,
  errors: OutputError,
  { saturation }: Options,
): Promise<{ codes: QuantizedConstant; difference: Float32Array; error: number }> {
  const codes = weightCodes(factors ? divideRows(weight, factors, outputs) : weight, inputs, outputs, saturation)
  const sample = {
    x: factors ? scaleColumns(rows, factors) : rows,
    weight: dequantize(codes.codes, codes.parameters, codes.layout),
    y,
    inputs,
    outputs,
  }
  return { codes, ...(await errors.measure(sample, range, activationGrid)) }
}

/** Adds the mean of what a linear lost, over tokens that are not special, to its bias. */
async function correctBias(graph: Graph, linear: Linear, difference: Float32Array, special: Uint8Array): Promise<void> {
  if (!linear.bias?.tensor) return
  const mean = new Float64Array(linear.outputs)
  let count = 0
  for (let row = 0; row < special.length; row++) {
    if (special[row]) continue
    count++
    for (let n = 0; n < linear.outputs; n++) mean[n] += difference[row * linear.outputs + n]
  }
  if (!count) return
  const bias = (await linear.bias.tensor.read()) as Float32Array
  const corrected = bias.map((b, n) => b + mean[n] / count)
  graph.setTensor(linear.bias, new ArrayTensor('float32', [linear.outputs], corrected))
}
