import { TinsmithError } from '../base/errors.js'
import { Random } from '../base/random.js'
import type { Model } from '../ir/model.js'
import { tidy } from '../ir/tidy.js'
import { verify } from '../ir/verify.js'
import type { PassContext, PassResult, Refusal } from '../passes/index.js'
import { Proofs } from './proofs.js'
import type { Recipe, RecipeStep } from './schema.js'

export interface RunContext extends Omit<PassContext, 'random'> {
  readonly seed: number
  /** Keeps and finds results of finished steps; null to do without. */
  readonly store: StepStore | null
}

/** Where results of finished steps are kept, so that a killed run goes on. */
export interface StepStore {
  /** The model after a step, and the reports of all steps up to it; null when it is not kept. */
  load(recipe: Recipe, index: number): Promise<{ model: Model; reports: readonly StepReport[] } | null>
  save(recipe: Recipe, index: number, model: Model, reports: readonly StepReport[]): Promise<void>
}

export interface StepReport {
  readonly pass: string
  readonly changed: number
  readonly refused: readonly Refusal[]
  readonly seconds: number
  /** Largest difference of the outputs on probe inputs, over the largest output; for exact passes. */
  readonly difference?: number
  readonly details?: PassResult['details']
}

/** What 'exact' means: largest difference over largest output. */
const exactTolerance = 2e-5

/**
 * Applies the passes of a recipe to a model, in place, and proves exact ones on probe inputs.
 *
 * @throws TinsmithError `failed` when a pass of the recipe finds nothing to change, or an exact pass changes the outputs
 */
export async function runRecipe(model: Model, recipe: Recipe, context: RunContext): Promise<StepReport[]> {
  const reports: StepReport[] = []
  const original = recipe.steps.some(({ pass }) => pass.needs.original) ? model.clone() : undefined
  const first = await resume(model, recipe, context, reports)
  const proofs = new Proofs(context)
  for (let i = first; i < recipe.steps.length; i++) {
    reports.push(await runStep(model, recipe.steps[i], { ...context, original }, proofs))
    await context.store?.save(recipe, i, model, reports)
  }
  return reports
}

/** Takes over the last finished step that is kept, and the reports of those before it. */
async function resume(model: Model, recipe: Recipe, { store, progress }: RunContext, reports: StepReport[]): Promise<number> {
  if (!store) return 0
  for (let i = recipe.steps.length - 1; i >= 0; i--) {
    const kept = await store.load(recipe, i)
    if (!kept) continue
    model.graphs.clear()
    for (const [name, graph] of kept.model.graphs) model.graphs.set(name, graph)
    model.config = kept.model.config
    reports.push(...kept.reports)
    progress.info(`${recipe.steps[i].pass.name} and what comes before it are taken over from an earlier run`)
    return i + 1
  }
  return 0
}

async function runStep(model: Model, { pass, options, optional }: RecipeStep, context: RunContext, proofs: Proofs): Promise<StepReport> {
  const start = performance.now()
  context.signal?.throwIfAborted()
  if (pass.needs.calibration && !context.calibration)
    throw new TinsmithError('usage', `${pass.name} needs calibration data`, {
      hint: 'Pass --calibrate FILE: texts like those that the model will see, one a line or in a table.',
    })
  const before = new Map(pass.exact ? [...model.graphs].map(([name, graph]) => [name, graph.clone()]) : [])
  const passContext: PassContext = { ...context, random: new Random(context.seed, pass.name) }
  const { changed, refused = [], details } = await pass.run(model, options, passContext)
  if (!changed && !optional) {
    const [why] = refused
    throw new TinsmithError('failed', `${pass.name} found nothing to change${why ? `: ${why.what}: ${why.why}` : ''}`, {
      hint: 'Take it out of the recipe, or widen its selection.',
    })
  }
  for (const graph of model.graphs.values()) {
    tidy(graph)
    verify(graph)
  }
  const difference = changed && pass.exact ? await proofs.largestDifference(before, model) : undefined
  if (changed && !pass.exact) proofs.forget()
  if (difference !== undefined && !(difference <= exactTolerance))
    throw new TinsmithError(
      'difference',
      `${pass.name} must not change the outputs and changed them by ${difference.toExponential(1)} of the largest`,
    )
  return { pass: pass.name, changed, refused, seconds: (performance.now() - start) / 1e3, difference, details }
}
