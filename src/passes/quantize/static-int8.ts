import * as z from 'zod'
import { anatomyOf, type Linear } from '../../anatomy/index.js'
import type { Random } from '../../base/random.js'
import { collect } from '../../calibration/collect.js'
import { HistogramObserver, MomentsObserver, ObserverGroup, RowSampleObserver } from '../../calibration/observers.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import type { Range } from '../../numbers/histogram.js'
import { affineFromRange, integerGrid } from '../../numbers/quantizer.js'
import { rangeMse, rangePercentile } from '../../numbers/ranges.js'
import { definePass, type PassContext, type Refusal } from '../pass.js'
import { selection } from '../select.js'
import { byInput, quantizeActivation, replaceConstant, selectLinears, selectTables } from './apply.js'
import { quantizeAttentionProducts } from './attention-products.js'
import { correctBias, type InputPlan } from './bias-correction.js'
import { quantizeTables } from './embeddings.js'
import { OutputError, searchRange } from './output-error.js'
import { divideRows, smoothingChoices, smoothingFactors } from './smoothing.js'
import { saturationChoices, weightCodes } from './weight-codes.js'
import { weightNoise } from './weight-noise.js'

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
  attention: z
    .boolean()
    .default(false)
    .describe('the products of attention in 8 bits too: of queries and keys, of probabilities and values'),
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
          details.push(
            ...(await quantizeGroup(
              graph,
              value,
              readers,
              observed.get(value)!,
              errors,
              chosen,
              context.random.stream(`signs ${value.name}`),
            )),
          )
          stage.advance()
        }
      } finally {
        stage.end()
        await errors.close()
      }
      changed += linears.length
      if (chosen.embeddings) changed += await quantizeTables(graph, selectTables(anatomy, chosen))
      if (!chosen.attention) continue
      const products = await quantizeAttentionProducts(graph, chosen, context)
      changed += products.changed
      refused.push(...products.refused)
      details.push(...products.details)
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

async function quantizeGroup(
  graph: Graph,
  value: Value,
  readers: readonly Linear[],
  observed: Observed,
  errors: OutputError,
  chosen: Options,
  random: Random,
): Promise<Record<string, string | number>[]> {
  const weights: Float32Array[] = []
  for (const linear of readers) weights.push((await linear.weight.tensor!.read()) as Float32Array)
  const { rows, special, count } = observed.rows
  const sample = await errors.sample(rows, readers[0].inputs, weights, random)
  const plan = await choosePlan(
    observed,
    readers,
    (factors, range) => errors.measure(sample, factors, range),
    (factors) => weightNoise(sample, weights, factors),
    chosen,
  )
  const signalToNoise = -10 * Math.log10(Math.max((await errors.measure(sample, plan.factors, plan.range)) / count, 1e-12))
  const details: Record<string, string | number>[] = []
  for (const [i, linear] of readers.entries()) {
    const weight = plan.factors ? divideRows(weights[i], plan.factors) : weights[i]
    const codes = weightCodes(weight, linear.inputs, linear.outputs, chosen.saturation)
    if (chosen.biasCorrection) await correctBias(graph, linear, weights[i], codes, rows, special, plan)
    replaceConstant(graph, linear.weight, linear.name, codes)
    const smoothed = plan.factors?.filter((factor) => factor < 1).length ?? 0
    details.push({ layer: linear.name, ...plan.range, smoothed, signalToNoise })
  }
  const activation = affineFromRange(plan.range.min, plan.range.max, activationGrid)
  quantizeActivation(graph, value, readers, activation, `${readers[0].name}.input`, plan.factors)
  return details
}

type Measure = (factors: Float32Array | null, range: Range) => Promise<number>

/** Errors of weights that are divided by factors. */
type Noise = (factors: Float32Array | null) => number

async function choosePlan(
  { channels, histogram }: Observed,
  readers: readonly Linear[],
  measure: Measure,
  noise: Noise,
  chosen: Options,
): Promise<InputPlan> {
  const whole = rangeOf(channels)
  if (chosen.ranges === 'minmax') return { factors: null, range: whole }
  if (chosen.ranges === 'mse') return { factors: null, range: rangeMse(histogram!.histogram, activationGrid) }
  if (chosen.ranges === 'percentile') return { factors: null, range: rangePercentile(histogram!.histogram, chosen.percentile) }
  const search = async (factors: Float32Array | null, range: Range) => {
    const found = await searchRange((candidate) => measure(factors, candidate), range)
    return { factors, range: found.range, error: found.error + (chosen.smoothing ? noise(factors) : 0) }
  }
  const plain = await search(null, whole)
  if (!chosen.smoothing) return plain
  const plans: (InputPlan & { error: number })[] = []
  for (const multiple of smoothingChoices) {
    const factors = smoothingFactors(channels, multiple)
    if (factors.some((factor) => factor < 1)) plans.push(await search(factors, rangeOf(channels, factors)))
  }
  const [best] = plans.sort((a, b) => a.error - b.error)
  const dearness = 1 + readers[0].inputs / readers.reduce((sum, { outputs }) => sum + outputs, 0)
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
