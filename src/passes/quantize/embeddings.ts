import type { Embedding } from '../../anatomy/index.js'
import type { Graph } from '../../ir/graph.js'
import { integerGrid, type Layout, minMaxParameters } from '../../numbers/quantizer.js'
import { quantizeConstant, replaceConstant } from './apply.js'

/** 8-bit codes for word embeddings, one scale for each row. Tables that a product reads too stay as they are. */
export async function quantizeTables(graph: Graph, tables: readonly Embedding[]): Promise<number> {
  const grid = integerGrid('int8', { symmetric: true })
  let changed = 0
  for (const { table, name } of tables) {
    if (table.users.some((node) => node.type !== 'Gather')) continue
    const layout: Layout = { shape: table.tensor!.shape, axis: 0 }
    replaceConstant(graph, table, name, await quantizeConstant(table, grid, layout, (x) => minMaxParameters(x, layout, grid)))
    changed++
  }
  return changed
}
