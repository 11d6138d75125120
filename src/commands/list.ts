import * as z from 'zod'
import { didYouMean, usage } from '../base/errors.js'
import { architectures } from '../models/index.js'
import { operators } from '../ops/index.js'
import { passes } from '../passes/index.js'
import { preset, presetNames } from '../recipes/presets.js'
import { trainingPreset, trainingPresetNames } from '../recipes/training.js'
import { targets } from '../targets/index.js'
import { agreement, tasks } from '../tasks/index.js'

export const listKinds = ['passes', 'recipes', 'models', 'tasks', 'targets', 'operators'] as const

export type ListKind = (typeof listKinds)[number]

/** One thing that Tinsmith has. */
export interface Listed {
  readonly name: string
  readonly summary: string
  /** Paper, standard or file that it follows. */
  readonly source: string
  /** By name; for passes as JSON Schema has them. */
  readonly options: Readonly<Record<string, unknown>>
}

/**
 * All passes, recipes, models, tasks, targets or operators.
 *
 * @throws TinsmithError `usage` for another word
 * @example
 * (await list('passes')).map((pass) => pass.name)
 */
export async function list(kind: ListKind): Promise<Listed[]> {
  const listing = listings[kind]
  if (!listing) throw usage(`there is no list of "${kind}"`, { hint: didYouMean(kind, listKinds) })
  return listing()
}

const listings: Readonly<Record<ListKind, () => Promise<Listed[]>>> = {
  passes: async () => passes.map(({ name, summary, source, options }) => ({ name, summary, source, options: optionsOf(options) })),
  recipes: () => Promise.all([...presetNames.map(listRecipe), ...trainingPresetNames.map(listTrainingRecipe)]),
  models: async () => architectures.map(({ type, summary, source, classes }) => ({ name: type, summary, source, options: { classes } })),
  tasks: async () =>
    [...tasks.values(), agreement].map((task) => {
      const main = 'main' in task ? { metric: task.main.metric, better: task.main.better } : {}
      return { name: task.name, summary: task.summary, source: '', options: main }
    }),
  targets: async () => targets.map((target) => ({ ...target, options: {} })),
  operators: async () =>
    operators.map(({ name, domain, since }) => ({
      name: domain ? `${domain}.${name}` : name,
      summary: domain ? `an operator of ${domain}` : `an operator of the standard, in this form since opset ${since}`,
      source: domain ? contributed : `https://onnx.ai/onnx/operators/onnx__${name}.html`,
      options: {},
    })),
}

const contributed = 'https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md'

async function listRecipe(name: (typeof presetNames)[number]): Promise<Listed> {
  const { summary, dtype, steps, architectures: types, withoutCalibration } = await preset(name)
  const options = {
    dtype,
    passes: steps.map(({ pass }) => pass.name),
    ...(types ? { architectures: types } : {}),
    ...(withoutCalibration ? { withoutCalibration } : {}),
  }
  return { name, summary, source: `recipes/presets/${name}.yaml`, options }
}

async function listTrainingRecipe(name: (typeof trainingPresetNames)[number]): Promise<Listed> {
  const { summary, objectives, learningRate, batchSize, epochs, adapter } = await trainingPreset(name)
  const options = {
    objective: objectives.map((objective) => objective.name),
    learningRate,
    batchSize,
    epochs,
    ...(adapter ? { adapter: adapter.name } : {}),
  }
  return { name, summary, source: `recipes/presets/${name}.yaml`, options }
}

function optionsOf(schema: z.ZodType): Record<string, unknown> {
  const { properties } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })
  return properties ?? {}
}
