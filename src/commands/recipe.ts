import { openFile, pathKind } from '#platform'
import { readAll } from '../base/bytes.js'
import { badInput } from '../base/errors.js'
import type { Model } from '../ir/model.js'
import { preset, presetNames } from '../recipes/presets.js'
import { parseRecipe, type Recipe } from '../recipes/schema.js'

/** A recipe with how it was asked for. */
export interface ChosenRecipe {
  readonly recipe: Recipe
  /** `path=value` overrides. */
  readonly changes: readonly string[]
}

/**
 * A recipe by the name of a preset or from a YAML file.
 *
 * @throws TinsmithError `bad-input` or `usage` for everything that is wrong with it
 */
export async function chooseRecipe(text: string, changes: readonly string[]): Promise<ChosenRecipe> {
  const isPreset = (presetNames as readonly string[]).includes(text)
  if (isPreset || (await pathKind(text)) !== 'file') return { recipe: await preset(text, changes), changes }
  return { recipe: parseRecipe(new TextDecoder().decode(await readAll(await openFile(text))), text, changes), changes }
}

/** @throws TinsmithError `bad-input` when the recipe is for other architectures */
export function checkArchitecture({ name, architectures }: Recipe, model: Model): void {
  if (architectures && !architectures.includes(model.type))
    throw badInput(`the recipe ${name} is for ${architectures.join(', ')} and the model is ${model.type}`, {
      where: 'recipe',
      hint: 'Choose another recipe (tinsmith list recipes).',
    })
}

export function needsCalibration({ steps }: Recipe): boolean {
  return steps.some(({ pass }) => pass.needs.calibration)
}

/** Whether a pass does better with calibration data. */
export function usesCalibration({ steps }: Recipe): boolean {
  return steps.some(({ pass }) => pass.usesCalibration)
}
