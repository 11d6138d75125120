import * as z from 'zod'
import { anatomyOf, type Linear } from '../../anatomy/index.js'
import type { Random } from '../../base/random.js'
import { collect } from '../../calibration/collect.js'
import { inOrder } from '../../calibration/in-order.js'
import { ChannelRangeObserver, HistogramObserver, ObserverGroup, RowSampleObserver } from '../../calibration/observers.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import type { Range } from '../../numbers/histogram.js'
import { affineFromRange, integerGrid } from '../../numbers/quantizer.js'
import { definePass, type PassContext, type PassResult } from '../pass.js'
import { selection } from '../select.js'
import { byInput, quantizeActivation, replaceConstant, selectLinears, selectTables } from './apply.js'
import { quantizeAttentionProducts } from './attention-products.js'
import { correctBias, type InputPlan } from './bias-correction.js'
import { quantizeTables } from './embeddings.js'
import { choosePlan, type Observed } from './input-plan.js'
import { OutputError, scaledSample } from './output-error.js'
import { divideRows } from './smoothing.js'
import { saturationChoices, weightCodes } from './weight-codes.js'
import { WeightNoise } from './weight-noise.js'

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
  smoothingPays: z
    .number()
    .positive()
    .default(1.2)
    .describe('smoothing multiplies in each run, so it must lower the error by this factor times 1 + inputs / outputs'),
  biasCorrection: z.boolean().default(true).describe('take the mean error of each output off its bias; special tokens do not count'),
  saturation: z
    .enum(saturationChoices)
    .default('pair-safe')
    .describe('how 16-bit sums are kept from overflowing on processors without VNNI'),
  leastSignalToNoise: z
    .number()
    .default(10)
    .describe('linears whose output would keep less than this many decibels of signal over noise stay in float'),
  rows: z.number().int().min(32).default(256).describe('tokens kept of each activation for searches'),
  embeddings: z.boolean().default(true).describe('word embeddings as 8-bit integers per row'),
  attention: z
    .boolean()
    .default(false)
    .describe('the products of attention in 8 bits too: of queries and keys, of probabilities and values'),
})

type Options = z.output<typeof options>

/** Linears that read one value. */
type Group = readonly [Value, readonly Linear[]]

/** Groups whose ranges are searched at a time: searches ask the engine again and again for little. */
const plannedTogether = 2

const activationGrid = integerGrid('uint8')

/** 8-bit weights and activations with ranges fixed by calibration: nothing depends on what else is in a batch. */
export const staticInt8 = definePass({
  name: 'static-int8',
  summary: 'Weights as 8-bit integers per output channel, activations as 8-bit integers with ranges fixed by calibration',
  source: 'Nagel et al., A white paper on neural network quantization, 2021; bias correction of Nagel et al., 2019',
  options,
  needs: { calibration: true },
  exact: false,
  async run(model, chosen, context) {
    const results: Required<PassResult>[] = []
    for (const graph of model.graphs.values()) {
      const anatomy = anatomyOf(graph)
      const { chosen: linears, refused } = selectLinears(anatomy, chosen)
      results.push({ changed: 0, refused, details: [] }, ...(await quantizeLinears(graph, linears, chosen, context)))
      if (chosen.embeddings) results.push({ changed: await quantizeTables(graph, selectTables(anatomy, chosen)), refused: [], details: [] })
      if (chosen.attention) results.push(await quantizeAttentionProducts(graph, chosen, context))
    }
    return {
      changed: results.reduce((sum, { changed }) => sum + changed, 0),
      refused: results.flatMap(({ refused }) => refused),
      details: results.flatMap(({ details }) => details),
    }
  },
})

/** One result for each value that linears read. */
async function quantizeLinears(
  graph: Graph,
  linears: readonly Linear[],
  chosen: Options,
  context: PassContext,
): Promise<Required<PassResult>[]> {
  const groups = byInput(linears)
  const observed = await observe(graph, groups, chosen, context)
  const errors = await OutputError.open(context)
  const stage = context.progress.stage('choosing ranges', groups.size)
  const results: Required<PassResult>[] = []
  try {
    const plan = ([value, readers]: Group) => {
      const signs = context.random.stream(`signs ${value.name}`)
      return planGroup(readers, observed.get(value)!, errors, chosen, signs)
    }
    for await (const [[value, readers], planned] of inOrder([...groups], plan, plannedTogether)) {
      context.signal?.throwIfAborted()
      results.push(await quantizeGroup(graph, value, readers, observed.get(value)!, planned, chosen))
      stage.advance()
    }
  } finally {
    stage.end()
    await errors.close()
  }
  return results
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
      channels: new ChannelRangeObserver(inputs),
      rows: new RowSampleObserver(inputs, rows, context.random.stream(value.name)),
      histogram: counts ? new HistogramObserver() : null,
    })
  const observers = new Map(
    [...observed].map(([value, { histogram, ...parts }]) => [value, new ObserverGroup(histogram ? { ...parts, histogram } : { ...parts })]),
  )
  await collect(graph, observers, context.calibration!, context)
  return observed
}

/** What is known of linears with one input before anything of them changes. */
interface PlannedGroup {
  /** [inputs, outputs] each */
  readonly weights: readonly Float32Array[]
  readonly plan: InputPlan
  /** Decibels, of the outputs. */
  readonly signalToNoise: number
}

async function planGroup(
  readers: readonly Linear[],
  observed: Observed,
  errors: OutputError,
  chosen: Options,
  random: Random,
): Promise<PlannedGroup> {
  const weights: Float32Array[] = []
  for (const linear of readers) weights.push((await linear.weight.tensor!.read()) as Float32Array)
  const { rows, count } = observed.rows
  const sample = await errors.sample(rows, readers[0].inputs, weights, random)
  const noise = new WeightNoise(sample, weights)
  const error = (factors: Float32Array | null) => {
    const scaled = scaledSample(sample, factors)
    return (range: Range) => errors.measure(scaled, range)
  }
  const plan = await choosePlan(observed, readers, { error, noise: (factors) => noise.of(factors) }, chosen)
  const signalToNoise = -10 * Math.log10(Math.max((await error(plan.factors)(plan.range)) / count, 1e-12))
  return { weights, plan, signalToNoise }
}

async function quantizeGroup(
  graph: Graph,
  value: Value,
  readers: readonly Linear[],
  { rows: { rows, special } }: Observed,
  { weights, plan, signalToNoise }: PlannedGroup,
  chosen: Options,
): Promise<Required<PassResult>> {
  if (signalToNoise < chosen.leastSignalToNoise) return leftInFloat(readers, signalToNoise)
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
  return { changed: readers.length, refused: [], details }
}

function leftInFloat(readers: readonly Linear[], signalToNoise: number): Required<PassResult> {
  const why = `8-bit inputs would leave ${signalToNoise.toFixed(1)} dB of signal over noise`
  return { changed: 0, refused: readers.map(({ name }) => ({ what: name, why })), details: [] }
}
