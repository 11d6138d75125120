import type { Linear } from '../../anatomy/index.js'
import type { HistogramObserver, MomentsObserver, RowSampleObserver } from '../../calibration/observers.js'
import type { Range } from '../../numbers/histogram.js'
import { integerGrid } from '../../numbers/quantizer.js'
import { rangeMse, rangePercentile } from '../../numbers/ranges.js'
import type { InputPlan } from './bias-correction.js'
import { searchRange } from './output-error.js'
import { smoothingChoices, smoothingFactors } from './smoothing.js'

/** What calibration saw of a value. */
export interface Observed {
  readonly channels: MomentsObserver
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

/** The error of the outputs for channels times factors, clipped to a range. */
type Measure = (factors: Float32Array | null, range: Range) => Promise<number>

/** Errors of weights that are divided by factors. */
type Noise = (factors: Float32Array | null) => number

/** Chooses range and factors for the input of some linears. */
export async function choosePlan(
  { channels, histogram }: Observed,
  readers: readonly Linear[],
  measure: Measure,
  noise: Noise,
  chosen: PlanOptions,
): Promise<InputPlan> {
  const whole = rangeOf(channels)
  if (chosen.ranges === 'minmax') return { factors: null, range: whole }
  if (chosen.ranges === 'mse') return { factors: null, range: rangeMse(histogram!.histogram, activationGrid) }
  if (chosen.ranges === 'percentile') return { factors: null, range: rangePercentile(histogram!.histogram, chosen.percentile) }
  const search = async (factors: Float32Array | null, range: Range) => {
    const found = await searchRange((candidate) => measure(factors, candidate), range)
    return { factors, range: found.range, error: found.error + (chosen.smoothing ? noise(factors) : 0) }
  }
  if (!chosen.smoothing) return search(null, whole)
  const choices = smoothingChoices
    .map((multiple) => smoothingFactors(channels, multiple))
    .filter((factors) => factors.some((factor) => factor < 1))
  // Beside each other, for a search waits for the engine most of the time.
  const [plain, ...plans] = await Promise.all([
    search(null, whole),
    ...choices.map((factors) => search(factors, rangeOf(channels, factors))),
  ])
  const [best] = plans.sort((a, b) => a.error - b.error)
  const dearness = 1 + readers[0].inputs / readers.reduce((sum, { outputs }) => sum + outputs, 0)
  return best && best.error * chosen.smoothingPays * dearness < plain.error ? best : plain
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
