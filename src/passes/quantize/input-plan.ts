import type { Linear } from '../../anatomy/index.js'
import type { ChannelRangeObserver, HistogramObserver, RowSampleObserver } from '../../calibration/observers.js'
import type { Range } from '../../numbers/histogram.js'
import { integerGrid } from '../../numbers/quantizer.js'
import { rangeMse, rangePercentile } from '../../numbers/ranges.js'
import type { InputPlan } from './bias-correction.js'
import { searchRange } from './output-error.js'
import { smoothingChoices, smoothingFactors } from './smoothing.js'

/** What calibration saw of a value. */
export interface Observed {
  readonly channels: ChannelRangeObserver
  readonly rows: RowSampleObserver
  readonly histogram: HistogramObserver | null
}

/** How ranges are chosen; the names of the pass's options. */
export interface PlanOptions {
  readonly ranges: 'minmax' | 'percentile' | 'mse' | 'output'
  readonly percentile: number
  readonly smoothing: boolean
  readonly smoothingPays: number
}

const activationGrid = integerGrid('uint8')

/** What quantization does to the outputs when channels are multiplied by factors and weights divided by them. */
interface Evidence {
  /** Measures the error that clipping the products to a range and rounding them leaves. */
  error(factors: Float32Array | null): (range: Range) => Promise<number>
  /** The error that rounding the weights adds. */
  noise(factors: Float32Array | null): number
}

/** Chooses range and factors for the input of some linears. */
export async function choosePlan(
  { channels, histogram }: Observed,
  readers: readonly Linear[],
  evidence: Evidence,
  chosen: PlanOptions,
): Promise<InputPlan> {
  const whole = rangeOf(channels)
  if (chosen.ranges === 'minmax') return { factors: null, range: whole }
  if (chosen.ranges === 'mse') return { factors: null, range: rangeMse(histogram!.histogram, activationGrid) }
  if (chosen.ranges === 'percentile') return { factors: null, range: rangePercentile(histogram!.histogram, chosen.percentile) }
  const { range, error } = await searchRange(evidence.error(null), whole)
  const plain = { factors: null, range }
  if (!chosen.smoothing) return plain
  const dearness = 1 + readers[0].inputs / readers.reduce((sum, { outputs }) => sum + outputs, 0)
  const bar = (error + evidence.noise(null)) / (chosen.smoothingPays * dearness)
  // Where rounding the weights adds too much already, no range can help. Searches run beside each other.
  const searches = smoothingChoices.map(async (multiple) => {
    const factors = smoothingFactors(channels, multiple)
    const noise = factors.some((factor) => factor < 1) ? evidence.noise(factors) : bar
    if (noise >= bar) return { ...plain, error: bar }
    const found = await searchRange(evidence.error(factors), rangeOf(channels, factors))
    return { factors, range: found.range, error: found.error + noise }
  })
  const [best] = (await Promise.all(searches)).sort((a, b) => a.error - b.error)
  return best.error < bar ? best : plain
}

/** The range of all channels, each times its factor. */
function rangeOf({ min, max }: ChannelRangeObserver, factors?: Float32Array): Range {
  let [low, high] = [0, 0]
  for (let c = 0; c < min.length; c++) {
    low = Math.min(low, min[c] * (factors?.[c] ?? 1))
    high = Math.max(high, max[c] * (factors?.[c] ?? 1))
  }
  return { min: low, max: high }
}
