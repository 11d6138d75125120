import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { openFile } from '../../src/base/platform.node.js'
import { evaluateDim, type Graph, type Value } from '../../src/ir/index.js'
import { type NDArray, sizeOf } from '../../src/numbers/dtype.js'
import { inlineFunctions, readOnnx } from '../../src/onnx/index.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { inferShapes } from '../../src/ops/infer.js'
import { arrayOf } from '../../src/ops/support.js'
import { upgradeGraph } from '../../src/ops/upgrade.js'
import { sharedPath } from '../support/shared.js'

const folder = sharedPath('golden', 'exported')
const files = folder ? fs.readdirSync(folder).filter((file) => file.endsWith('.onnx')) : []

/** The graph of a file in today's form, whose computed values know nothing but what the shape rules say. */
async function inferred(file: string): Promise<Graph> {
  const model = await readOnnx(await openFile(path.join(folder!, file)))
  inlineFunctions(model)
  const { graph } = model
  upgradeGraph(graph)
  for (const node of graph.allNodes()) for (const output of node.outputs) Object.assign(output, { dtype: null, shape: null })
  inferShapes(graph)
  return graph
}

/** A different number for each symbol of the inputs. */
function numbersForSymbols(graph: Graph): Map<string, number> {
  const symbols = new Map<string, number>()
  for (const input of graph.inputs)
    for (const dim of input.shape ?? []) if (typeof dim === 'string' && !symbols.has(dim)) symbols.set(dim, 3 + symbols.size)
  return symbols
}

function feedFor(input: Value, symbols: ReadonlyMap<string, number>): NDArray {
  const shape = input.shape!.map((dim) => evaluateDim(dim, symbols)!)
  const element = (i: number) =>
    /mask/.test(input.name) ? 1 : /type/.test(input.name) ? i % 2 : input.dtype === 'float32' ? Math.sin(i) : (7 * i) % 50
  return arrayOf(
    input.dtype!,
    shape,
    Array.from({ length: sizeOf(shape) }, (_, i) => element(i)),
  )
}

describe.skipIf(!files.length)('exported models', () => {
  test.each(files)('%s: every inferred dtype and shape is the computed one', async (file) => {
    const graph = await inferred(file)
    const symbols = numbersForSymbols(graph)
    const feeds = Object.fromEntries(graph.inputs.map((input) => [input.name, feedFor(input, symbols)]))
    const values = [...graph.nodes()].flatMap((node) => node.outputs.filter((output) => output.name))
    graph.outputs.splice(0, graph.outputs.length, ...values)
    const results = await evaluateGraph(graph, feeds)
    for (const value of values) {
      const actual = results[value.name]
      expect(value.dtype, value.name).toBe(actual.dtype)
      expect(value.shape?.length, value.name).toBe(actual.shape.length)
      value.shape!.forEach((dim, axis) => {
        expect(evaluateDim(dim, symbols) ?? actual.shape[axis], `${value.name} axis ${axis}`).toBe(actual.shape[axis])
      })
    }
  })
})
