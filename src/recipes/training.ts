import * as z from 'zod'
import { readAsset } from '#platform'
import { badInput, didYouMean } from '../base/errors.js'
import { layersOption } from '../passes/distil/drop-layers.js'
import { scheduleNames } from '../train/index.js'
import { parseDocumentAgainst, readYaml } from './yaml.js'

const named = z.union([z.string(), z.record(z.string(), z.record(z.string(), z.unknown()).nullable())])

const schema = z.strictObject({
  name: z.string().optional().describe('shown in reports'),
  summary: z.string().optional().describe('one line about what it is good for'),
  objective: z
    .union([named, z.array(named).min(1)])
    .describe('what is learned: a name, `name: {option: value}`, or several, whose losses are added up'),
  head: z
    .string()
    .optional()
    .describe('end of the class that the model is trained as, as in ForSequenceClassification; default by the objective'),
  student: z
    .strictObject({
      layers: layersOption,
    })
    .optional()
    .describe('train a model with fewer layers, from those that stay'),
  adapter: named.optional().describe('train small additions only and merge them where that is possible'),
  epochs: z.number().positive().optional().describe('passes over the data'),
  steps: z.number().int().positive().optional().describe('updates, instead of epochs'),
  batchSize: z.number().int().positive().default(32).describe('samples of a forward and backward pass'),
  groupByLength: z.boolean().default(true).describe('make batches of samples of similar length, so that little is padded'),
  accumulate: z.number().int().positive().default(1).describe('passes before an update'),
  maxLength: z.number().int().positive().default(128).describe('tokens of a sample; longer ones are cut'),
  learningRate: z.number().positive().default(5e-5),
  schedule: z
    .strictObject({
      name: z.enum(scheduleNames as [string, ...string[]]).default('linear'),
      warmup: z.number().nonnegative().default(0.1).describe('share of the steps, or steps'),
      floor: z.number().min(0).max(1).default(0).describe('factor at the end'),
      decay: z.number().min(0).max(1).default(0.2).describe('warmup-stable-decay: share of the steps at the end'),
    })
    .prefault({}),
  optimizer: named.default('adamw'),
  weightDecay: z.number().nonnegative().default(0.01).describe('of matrices'),
  clipNorm: z.number().positive().optional().describe('largest norm of all gradients together'),
  dropout: z.number().min(0).lt(1).default(0).describe('probability of dropping an element'),
  average: z.number().gt(0).lt(1).optional().describe('decay of a moving average of the parameters, which is what is kept'),
  groups: z
    .array(
      z.strictObject({ match: z.string(), rate: z.number().nonnegative().optional(), weightDecay: z.number().nonnegative().optional() }),
    )
    .default([])
    .describe('settings by globs over names; rate 0 freezes'),
  evaluateEvery: z.number().int().positive().optional().describe('steps between evaluations; default once an epoch'),
  saveEvery: z
    .number()
    .int()
    .positive()
    .optional()
    .describe('steps between checkpoints, from which a killed run goes on; default once a minute'),
  patience: z.number().int().positive().optional().describe('evaluations without a better one after which training stops'),
  recompute: z.boolean().default(false).describe('keep block outputs only and compute the rest again: less memory, a third more time'),
})

/** A name with options, as recipes write it. */
export interface Named {
  readonly name: string
  readonly options: Readonly<Record<string, unknown>>
  /** Of the recipe, for messages. */
  readonly line: number
}

/** How a model is trained. */
export interface TrainingRecipe extends Omit<z.output<typeof schema>, 'objective' | 'optimizer' | 'adapter' | 'name' | 'summary'> {
  readonly name: string
  readonly summary: string
  readonly objectives: readonly Named[]
  readonly optimizer: Named
  readonly adapter: Named | null
  readonly text: string
}

/** Names of the presets for training; each is a YAML file of that name. */
export const trainingPresetNames = ['classifier', 'embedding', 'language-model', 'distil', 'lora'] as const

/**
 * Reads a recipe for training. Everything that can be wrong with it is said before any work begins, with the line.
 *
 * @param changes `path=value` overrides, as in `learningRate=1e-4`
 * @throws TinsmithError `bad-input` for unknown keys (the nearest is named) and wrong values
 * @example
 * parseTrainingRecipe('objective: classification', 'example').batchSize // 32
 */
export function parseTrainingRecipe(text: string, where: string, changes: readonly string[] = []): TrainingRecipe {
  const { objective, optimizer, adapter, name, summary, ...rest } = parseDocumentAgainst(schema, text, where, changes)
  const { lineOf } = readYaml(text, where)
  return {
    ...rest,
    ...lengthOf(rest, where, changes),
    name: name ?? where,
    summary: summary ?? '',
    objectives: Array.isArray(objective)
      ? objective.map((each, i) => namedOf(each, where, lineOf(['objective', i])))
      : [namedOf(objective, where, lineOf(['objective']))],
    optimizer: namedOf(optimizer, where, lineOf(['optimizer'])),
    adapter: adapter === undefined ? null : namedOf(adapter, where, lineOf(['adapter'])),
    text,
  }
}

/** Epochs or steps; the one that was changed counts where the recipe has the other. */
function lengthOf({ epochs, steps }: { epochs?: number; steps?: number }, where: string, changes: readonly string[]) {
  if (epochs === undefined || steps === undefined) return { epochs, steps }
  const [newEpochs, newSteps] = ['epochs=', 'steps='].map((start) => changes.some((change) => change.startsWith(start)))
  if (newEpochs === newSteps) throw badInput('epochs and steps exclude each other', { where })
  return newEpochs ? { epochs, steps: undefined } : { epochs: undefined, steps }
}

function namedOf(value: z.output<typeof named>, where: string, line: number): Named {
  if (typeof value === 'string') return { name: value, options: {}, line }
  const entries = Object.entries(value)
  if (entries.length !== 1)
    throw badInput(`line ${line}: ${JSON.stringify(value)} must be one name with its options, as in \`name: {option: value}\``, { where })
  return { name: entries[0][0], options: entries[0][1] ?? {}, line }
}

/**
 * A recipe for training by the name of its preset.
 *
 * @throws TinsmithError `bad-input` when there is none of that name; the nearest is named
 */
export async function trainingPreset(name: string, changes: readonly string[] = []): Promise<TrainingRecipe> {
  if (!(trainingPresetNames as readonly string[]).includes(name))
    throw badInput(`there is no preset or recipe file "${name}" for training`, { hint: didYouMean(name, trainingPresetNames) })
  return parseTrainingRecipe(await readAsset(new URL(`./presets/${name}.yaml`, import.meta.url)), name, changes)
}
