import * as z from 'zod'
import { anatomyOf, type Linear } from '../../anatomy/index.js'
import { int } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import { ArrayTensor, LazyTensor, type Tensor } from '../../ir/tensor.js'
import { Net } from '../../nn/net.js'
import { allocate, ndarray, sizeOf } from '../../numbers/dtype.js'
import { definePass, type Refusal } from '../pass.js'

/** One product for query, key and value: the same input is read, and quantized, once. */
export const fuseQkv = definePass({
  name: 'fuse-qkv',
  summary: 'Merge the query, key and value linears of a block into one',
  source: 'a matrix product with concatenated columns',
  options: z.strictObject({}),
  needs: {},
  exact: true,
  async run(model) {
    let changed = 0
    const refused: Refusal[] = []
    for (const graph of model.graphs.values())
      for (const block of anatomyOf(graph).blocks) {
        const [q, k, v] = (['q', 'k', 'v'] as const).map((role) => block.linears.get(role))
        const why = obstacle([q, k, v])
        if (why) refused.push({ what: block.name, why })
        else {
          merge(graph, `${commonModule([q!, k!, v!])}.qkv`, [q!, k!, v!])
          changed++
        }
      }
    for (const graph of model.graphs.values()) graph.prune()
    if (!changed && !refused.length) refused.push({ what: 'the model', why: 'no block with attention was found in it' })
    return { changed, refused }
  },
})

function obstacle(linears: readonly (Linear | undefined)[]): string | null {
  const present = linears.filter((linear): linear is Linear => linear !== undefined)
  if (present.length < 3) return 'query, key and value are not three linears'
  if (new Set(present).size < 3) return 'one linear has several of the roles'
  if (present.some((linear) => linear.input !== present[0].input)) return 'query, key and value read different inputs'
  if (present.some((linear) => linear.product.input(1) !== linear.weight || linear.weight.uses.size > 1))
    return 'a weight is quantized, transposed or shared'
  if (present.some((linear) => linear.bias && !linear.bias.tensor)) return 'a bias is quantized or computed'
  if (new Set(present.map((linear) => linear.bias !== null)).size > 1) return 'some have a bias and some do not'
  return null
}

function commonModule(linears: readonly Linear[]): string {
  return linears[0].name.split('.').slice(0, -1).join('.')
}

function merge(graph: Graph, name: string, linears: readonly Linear[]): void {
  const first = linears[0]
  const net = new Net(graph, undefined, name)
  const place = { before: first.product }
  const sizes = linears.map((linear) => linear.outputs)
  const weight = graph.addConstant(`${name}.weight`, concatenateColumns(linears.map((linear) => linear.weight.tensor!)))
  let merged = net.op('MatMul', [first.input, weight], {}, place)
  if (first.bias)
    merged = net.op(
      'Add',
      [merged, graph.addConstant(`${name}.bias`, concatenateColumns(linears.map((linear) => linear.bias!.tensor!)))],
      {},
      place,
    )
  const split = net.constant(`int64_list_${sizes.join('_')}`, ArrayTensor.of(ndarray('int64', [sizes.length], sizes)))
  const parts = net.ops('Split', [merged, split], {
    ...place,
    attributes: { axis: int(-1) },
    outputs: linears.map((linear) => `${linear.name}.part`),
  })
  linears.forEach((linear, i) => {
    graph.replaceAllUses(linear.output, parts[i])
    if (linear.addition) graph.remove(linear.addition)
    graph.remove(linear.product)
  })
}

/** Matrices [rows, n_i] side by side, or vectors end to end; computed when read. */
function concatenateColumns(tensors: readonly Tensor[]): Tensor {
  const widths = tensors.map((tensor) => tensor.shape.at(-1)!)
  const width = widths.reduce((sum, n) => sum + n, 0)
  const shape = [...tensors[0].shape.slice(0, -1), width]
  const rows = sizeOf(shape.slice(0, -1))
  return new LazyTensor(tensors[0].dtype, shape, async () => {
    const result = allocate(tensors[0].dtype, rows * width) as Float32Array
    let at = 0
    for (const [i, tensor] of tensors.entries()) {
      const data = (await tensor.read()) as Float32Array
      for (let row = 0; row < rows; row++) result.set(data.subarray(row * widths[i], (row + 1) * widths[i]), row * width + at)
      at += widths[i]
    }
    return result
  })
}
