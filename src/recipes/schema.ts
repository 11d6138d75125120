import { parseDocument } from 'yaml'
import * as z from 'zod'
import { badInput, didYouMean, usage } from '../base/errors.js'
import { type Pass, passes } from '../passes/index.js'
import { type DTypeWord, dtypeSuffixes } from '../pipelines/index.js'
import { contentsOf, type LineOf, readYaml, schemaError } from './yaml.js'

const entry = z.union([z.string(), z.record(z.string(), z.record(z.string(), z.unknown()).nullable())])

const schema = z.strictObject({
  name: z.string().optional().describe('shown in reports'),
  summary: z.string().optional().describe('one line about what it is good for'),
  dtype: z
    .enum(Object.keys(dtypeSuffixes) as [DTypeWord, ...DTypeWord[]])
    .default('q8')
    .describe('which file of the target it writes'),
  architectures: z.array(z.string()).optional().describe('model types that it is made for; default all'),
  withoutCalibration: z.string().optional().describe('preset to use instead when an encoder comes without calibration data'),
  optional: z.array(z.string()).default([]).describe('passes that may find nothing to change'),
  passes: z.array(entry).min(1).describe('names of passes, in order; with options as `name: {option: value}`'),
})

/** A pass with its options, checked. */
export interface RecipeStep {
  readonly pass: Pass
  readonly options: unknown
  /** Finding nothing to change is no failure. */
  readonly optional: boolean
}

/** Passes in order, with options. */
export interface Recipe {
  readonly name: string
  readonly summary: string
  readonly dtype: DTypeWord
  readonly architectures: readonly string[] | null
  readonly withoutCalibration: string | null
  readonly steps: readonly RecipeStep[]
  /** The text that it was read from. */
  readonly text: string
}

/**
 * Reads a recipe. Everything that can be wrong with it is said before any work begins, with the line.
 *
 * @param text YAML
 * @param where file or preset, for messages
 * @param changes `path=value` overrides, as in `static-int8.rows=512`
 * @throws TinsmithError `bad-input` for unknown keys or passes (the nearest is named), wrong types, wrong options
 * @example
 * parseRecipe('passes: [fold-constants, {weight-only: {bits: 4}}]', 'example').steps.length // 2
 */
export function parseRecipe(text: string, where: string, changes: readonly string[] = []): Recipe {
  const { contents, lineOf } = readYaml(text, where)
  const parsed = schema.safeParse(contents)
  if (!parsed.success) throw schemaError(parsed.error, where, lineOf, Object.keys(schema.shape), [])
  const { passes: entries, ...rest } = parsed.data
  const overrides = changes.map(parseChange)
  const steps = entries.map((item, i) => stepOf(item, where, ['passes', i], lineOf, overrides, rest.optional))
  for (const name of rest.optional)
    if (!steps.some((step) => step.pass.name === name))
      throw badInput(`line ${lineOf(['optional'])}: "${name}" is optional and no pass of the recipe`, { where })
  for (const { path, used } of overrides)
    if (!used)
      throw usage(`--set ${path} fits no pass of the recipe`, {
        hint: didYouMean(
          path.split('.')[0],
          steps.map((step) => step.pass.name),
        ),
      })
  return {
    name: rest.name ?? where,
    summary: rest.summary ?? '',
    dtype: rest.dtype,
    architectures: rest.architectures ?? null,
    withoutCalibration: rest.withoutCalibration ?? null,
    steps,
    text,
  }
}

function stepOf(
  item: z.output<typeof entry>,
  where: string,
  path: readonly PropertyKey[],
  lineOf: LineOf,
  overrides: Override[],
  optional: readonly string[],
): RecipeStep {
  if (typeof item !== 'string' && Object.keys(item).length !== 1)
    throw badInput(`line ${lineOf(path)}: a step is one pass, as in \`- name: {option: value}\``, { where })
  const [name, given] = typeof item === 'string' ? [item, {}] : Object.entries(item)[0]
  const pass = passes.find((candidate) => candidate.name === name)
  if (!pass)
    throw badInput(`line ${lineOf(path)}: there is no pass "${name}"`, {
      where,
      hint: didYouMean(
        name,
        passes.map((known) => known.name),
      ),
    })
  const options: Record<string, unknown> = { ...given }
  for (const override of overrides)
    if (override.pass === name) {
      options[override.option] = override.value
      override.used = true
    }
  const parsed = pass.options.safeParse(options)
  if (!parsed.success) throw schemaError(parsed.error, where, lineOf, optionNames(pass), [...path, name])
  return { pass, options: parsed.data, optional: optional.includes(name) }
}

/** Names of the options of a pass. */
export function optionNames(pass: Pass): string[] {
  return pass.options instanceof z.ZodObject ? Object.keys(pass.options.shape) : []
}

interface Override {
  readonly path: string
  readonly pass: string
  readonly option: string
  readonly value: unknown
  used: boolean
}

function parseChange(text: string): Override {
  const [, pass, option, value] = /^([\w-]+)\.([\w]+)=(.*)$/.exec(text) ?? []
  if (!pass)
    throw usage(`--set takes pass.option=value and got ${JSON.stringify(text)}`, { hint: 'For example: --set static-int8.rows=512' })
  const document = parseDocument(value)
  if (document.errors.length) throw usage(`--set ${pass}.${option} got ${JSON.stringify(value)}, which is no value of YAML`)
  return { path: `${pass}.${option}`, pass, option, value: contentsOf(document, '--set'), used: false }
}
