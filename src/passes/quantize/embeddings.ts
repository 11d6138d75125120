import type { Embedding } from '../../anatomy/index.js'
import type { Graph } from '../../ir/graph.js'
import { integerGrid, type Layout, minMaxParameters } from '../../numbers/quantizer.js'
import { quantizeConstant, replaceConstant } from './apply.js'

/** 8-bit codes for word embeddings, one scale for each row. */
export async function quantizeTables(graph: Graph, tables: readonly Embedding[]): Promise<number> {
  const grid = integerGrid('int8', { symmetric: true })
  for (const { table, name } of tables) {
    const layout: Layout = { shape: table.tensor!.shape, axis: 0 }
    replaceConstant(graph, table, name, await quantizeConstant(table, grid, layout, (x) => minMaxParameters(x, layout, grid)))
  }
  return tables.length
}
