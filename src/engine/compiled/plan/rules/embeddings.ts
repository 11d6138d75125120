import type { Node, Value } from '../../../../ir/node.js'
import type { Tensor } from '../../../../ir/tensor.js'
import type { Lookup } from '../meaning.js'
import { presentTable } from '../present-blocks.js'
import type { LookupTable, TokenNumbers } from '../steps.js'
import type { TranslationRules, Translator } from '../translator.js'

/** Lookups in tables by token, type and position. */
export const embeddingRules: TranslationRules = {
  async Gather(node, translator) {
    const table = await tableOf(node.input(0)!, translator)
    const numbers = numbersOf(node.input(1), translator)
    if (!table || !numbers || node.int('axis', 0) !== 0) return false
    return translator.mean(node.output, { kind: 'lookups', lookups: [{ table, numbers }], columns: table.columns })
  },

  Slice(node, translator) {
    const table = positionsOf(node.input(0)!)
    const [start, end, axes] = [1, 2, 3].map((i) => node.input(i))
    const isFirst = start?.tensor && axes?.tensor && isZero(start.tensor) && isZero(axes.tensor)
    if (!table || !isFirst || !isSequenceLength(end, translator)) return false
    return translator.mean(node.output, { kind: 'lookups', lookups: [{ table, numbers: 'index' }], columns: table.columns })
  },
}

/** Sums of lookups are put off until their result is needed: one step does them all. */
export function sumOfLookups(node: Node, translator: Translator): boolean {
  const [a, b] = [0, 1].map((i) => lookupsOf(node.input(i)!, translator))
  if (!a || !b || a.columns !== b.columns || (a.plus && b.plus)) return false
  return translator.mean(node.output, {
    kind: 'lookups',
    lookups: [...a.lookups, ...b.lookups],
    columns: a.columns,
    plus: a.plus ?? b.plus,
  })
}

function lookupsOf(value: Value, translator: Translator) {
  const meaning = translator.meaning(value)
  if (meaning?.kind === 'lookups') return meaning
  const table = value.tensor && positionsOf(value)
  const isFixed = table && translator.tokens === table.rows
  const lookup: Lookup | undefined = isFixed ? { table, numbers: 'index' } : undefined
  return lookup && { kind: 'lookups' as const, lookups: [lookup], columns: table!.columns, plus: undefined }
}

async function tableOf(value: Value, translator: Translator): Promise<LookupTable | undefined> {
  const tensor = translator.tensor(value)
  if (tensor?.shape.length === 2) return (await presentTable(tensor)) ?? floatTable(tensor)
  const meaning = translator.meaning(value)
  if (meaning?.kind !== 'dequantized' || meaning.weight.kind !== 'axis' || meaning.weight.axis !== 0) return undefined
  const { codes, scale } = meaning.weight
  const [rows, columns] = codes.shape
  return { rows, columns, values: codes, scale }
}

/** A constant [positions, columns], perhaps with a batch of one in front. */
function positionsOf({ tensor }: Value): LookupTable | undefined {
  if (tensor?.dtype !== 'float32') return undefined
  const { shape } = tensor
  return shape.length === 2 || (shape.length === 3 && shape[0] === 1) ? floatTable(tensor) : undefined
}

function floatTable(values: Tensor): LookupTable {
  const [rows, columns] = values.shape.slice(-2)
  return { rows, columns, values }
}

/** An input of the graph with an integer for each token. */
export function numbersOf(value: Value | null, { graph }: Translator): TokenNumbers | undefined {
  return value && graph.inputs.includes(value) && value.shape?.length === 2 ? { input: value.name } : undefined
}

/** Whether a value is the number of tokens: a part of the shape of an input that has them. */
function isSequenceLength(value: Value | null, translator: Translator): boolean {
  const node = value?.producer
  const axis = node?.type === 'Shape' ? node.int('start', 0) : -1
  const isOne = node?.int('end') === axis + 1
  return isOne && node?.input(0)?.shape?.[axis] === sequenceOf(translator)
}

function sequenceOf({ graph }: Translator) {
  return graph.inputs.find(({ shape, dtype }) => dtype === 'int64' && shape?.length === 2)?.shape?.[1]
}

function isZero(tensor: Tensor): boolean {
  return tensor.size === 1 && Number(tensor.elements?.[0]) === 0
}
