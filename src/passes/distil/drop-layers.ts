/** Models with fewer layers: blocks leave the residual stream, and those that stay are counted anew. */
import * as z from 'zod'
import { anatomyOf, type Block } from '../../anatomy/index.js'
import { residualStream } from '../../anatomy/stream.js'
import { badInput } from '../../base/errors.js'
import type { Graph } from '../../ir/graph.js'
import type { Config, Model } from '../../ir/model.js'
import type { Value } from '../../ir/node.js'
import { tidy } from '../../ir/tidy.js'

/** Keys of config.json that count layers. */
const countKeys = ['num_hidden_layers', 'n_layer', 'n_layers', 'num_layers']

/**
 * Which layers stay when only some do: spread evenly, the last one always among them, as in MiniLM and DistilBERT.
 *
 * @example
 * evenLayers(12, 3) // [3, 7, 11]
 */
export function evenLayers(all: number, kept: number): number[] {
  if (kept > all) throw badInput(`${kept} of ${all} layers cannot stay`)
  return Array.from({ length: kept }, (_, i) => Math.round(((i + 1) * all) / kept) - 1)
}

/** Which layers stay, as recipes say it. */
export const layersOption = z
  .union([z.literal('half'), z.number().int().positive(), z.array(z.number().int().nonnegative()).min(1)])
  .describe('how many layers stay, or which')

/**
 * Indexes of the layers that stay, of as many as there are.
 *
 * @example
 * keptLayers('half', 6) // [1, 3, 5]
 */
export function keptLayers(layers: z.output<typeof layersOption>, all: number): readonly number[] {
  if (layers === 'half') return evenLayers(all, Math.max(1, Math.floor(all / 2)))
  return typeof layers === 'number' ? evenLayers(all, layers) : layers
}

/**
 * Takes all layers but some out of a model, in place; weights, caches and config.json are renumbered as in a checkpoint of that many
 * layers.
 *
 * @param kept indexes from 0, rising
 * @returns how many layers went
 * @throws TinsmithError `bad-input` for layers that the model does not have; `unsupported` where blocks do not follow each other on one
 * residual stream
 */
export function dropLayers(model: Model, kept: readonly number[]): number {
  const graph = model.graph
  const { blocks } = anatomyOf(graph)
  if (!kept.length || kept.some((index, i) => index >= blocks.length || (i > 0 && index <= kept[i - 1])))
    throw badInput(`the layers ${kept.join(', ')} are not rising indexes below ${blocks.length}`)
  const stream = residualStream(graph)
  let reaching = stream[0]
  for (let i = 0; i < blocks.length; i++) {
    if (kept.includes(i)) reaching = stream[i + 1]
    else graph.replaceAllUses(stream[i + 1], reaching)
  }
  dropCaches(graph, blocks.length, kept)
  graph.prune()
  renumber(graph, blocks, kept)
  tidy(graph)
  model.config = withLayers(model.config, kept.length)
  return blocks.length - kept.length
}

/** Caches of dropped layers go, others are counted anew. */
function dropCaches(graph: Graph, count: number, kept: readonly number[]): void {
  for (let i = 0; i < count; i++) {
    const isOf = (value: Value) => new RegExp(`^(past_key_values|present)\\.${i}\\.`).test(value.name)
    if (kept.includes(i)) continue
    remove(graph.outputs, isOf)
  }
  graph.prune()
  remove(graph.inputs, (input) => /^past_key_values\./.test(input.name) && !input.uses.size)
  const newIndex = (name: string) =>
    name.replace(/^((?:past_key_values|present)\.)(\d+)/, (_, prefix, index) => prefix + kept.indexOf(Number(index)))
  for (const value of [...graph.inputs, ...graph.outputs]) graph.rename(value, newIndex(value.name))
}

function remove(values: Value[], unwanted: (value: Value) => boolean): void {
  for (let i = values.length - 1; i >= 0; i--) if (unwanted(values[i])) values.splice(i, 1)
}

function renumber(graph: Graph, blocks: readonly Block[], kept: readonly number[]): void {
  for (const [to, from] of kept.entries()) {
    const old = blocks[from].name
    const name = old.replace(/\d+(?=\D*$)/, String(to))
    const renamed = (text: string) => (text === old || text.startsWith(`${old}.`) ? name + text.slice(old.length) : text)
    for (const constant of [...graph.constants.values()]) graph.rename(constant, renamed(constant.name))
    for (const node of graph.allNodes()) node.name = renamed(node.name)
  }
}

function withLayers(config: Config | null, count: number): Config | null {
  if (!config) return null
  return Object.fromEntries(Object.entries(config).map(([key, value]) => [key, countKeys.includes(key) && value !== null ? count : value]))
}
