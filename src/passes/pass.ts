import type * as z from 'zod'
import type { Random } from '../base/random.js'
import type { Calibration } from '../calibration/calibration.js'
import type { CollectContext } from '../calibration/collect.js'
import type { Model } from '../ir/model.js'

/** Something that a pass was asked to change and left as it was. */
export interface Refusal {
  readonly what: string
  readonly why: string
}

export interface PassResult {
  /** How many places changed. 0 needs a reason in `refused`. */
  readonly changed: number
  readonly refused?: readonly Refusal[]
  /** Figures for the report, per place where that makes sense. */
  readonly details?: readonly Readonly<Record<string, string | number>>[]
}

/** What a pass may use besides the model. */
export interface PassContext extends CollectContext {
  readonly calibration: Calibration | null
  /** The model as it was before the recipe, where a pass of the recipe needs it. */
  readonly original?: Model
  readonly random: Random
}

/** One named rewriting of a model: one method, one file. */
export interface Pass<Options = unknown> {
  readonly name: string
  readonly summary: string
  /** Paper or standard that it follows. */
  readonly source: string
  readonly options: z.ZodType<Options>
  /** `original`: the model as it was before the recipe. */
  readonly needs: { readonly calibration?: boolean; readonly original?: boolean }
  /** It does better with calibration, and runs without. */
  readonly usesCalibration?: boolean
  /** Outputs stay the same but for rounding; proved on probe inputs every time it runs. */
  readonly exact: boolean
  /** Changes the model in place. */
  run(model: Model, options: Options, context: PassContext): Promise<PassResult>
}

/** Types a pass by the schema of its options. */
export function definePass<Schema extends z.ZodType>(
  pass: Omit<Pass<z.output<Schema>>, 'options'> & { options: Schema },
): Pass<z.output<Schema>> {
  return pass as unknown as Pass<z.output<Schema>>
}
