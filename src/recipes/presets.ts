import { readAsset } from '#platform'
import { badInput, didYouMean } from '../base/errors.js'
import { parseRecipe, type Recipe } from './schema.js'

/** Names of the presets; each is a YAML file of that name. */
export const presetNames = ['int8', 'int8-dynamic', 'int8-static', 'int4', 'fp16'] as const

export type PresetName = (typeof presetNames)[number]

/**
 * A recipe by the name of its preset.
 *
 * @throws TinsmithError `bad-input` when there is none of that name; the nearest is named
 */
export async function preset(name: string, changes: readonly string[] = []): Promise<Recipe> {
  if (!presetNames.includes(name as PresetName))
    throw badInput(`there is no preset or recipe file "${name}"`, { hint: didYouMean(name, presetNames) })
  return parseRecipe(await readAsset(new URL(`./presets/${name}.yaml`, import.meta.url)), name, changes)
}
