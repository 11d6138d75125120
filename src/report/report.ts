import type { DTypeWord } from '../pipelines/index.js'
import type { StepReport } from '../recipes/run.js'
import type { Figure, Provenance } from '../targets/index.js'

/** How fast a model ran; before and after are measured in the same run. */
export interface Rate {
  readonly value: number
  /** As in `texts/s`. More is better. */
  readonly unit: string
}

/** A model's size, quality and speed. */
export interface MeasuredFigure extends Figure {
  readonly rate?: Rate
}

/** How far the residual stream after a block is as the original's. */
export interface BlockFigure {
  readonly block: string
  /** Signal to quantization noise ratio, dB; null where nothing differs. */
  readonly sqnr: number | null
  /** Mean cosine of the tokens' vectors. */
  readonly cosine: number
}

/** What was done to a model and what it cost: the document `report.json`, and what `report.html` shows. */
export interface Report {
  readonly model: { readonly type: string; readonly parameters: number }
  /** Which file of the target was written. */
  readonly dtype: DTypeWord
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
  readonly steps: readonly StepReport[]
  /** The fp32 form. */
  readonly before: MeasuredFigure
  readonly after: MeasuredFigure
  /** The task that the metrics belong to, and how many samples were scored. */
  readonly task?: string
  readonly samples?: number
  /** The metrics without any model (the majority class). */
  readonly baseline?: Readonly<Record<string, number>>
  /** Block by block against the original, where there were inputs to compare them on. */
  readonly blocks?: readonly BlockFigure[]
  readonly warnings: readonly string[]
  /** Source, recipe, calibration, seed and versions: all that is needed to do it again. */
  readonly origin: Omit<Provenance, 'figures'>
}
