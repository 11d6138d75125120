import * as z from 'zod'
import { anatomyOf, isResidual, type Linear, linearAt } from '../../anatomy/index.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Use } from '../../ir/node.js'
import { ArrayTensor, LazyTensor } from '../../ir/tensor.js'
import { Net } from '../../nn/net.js'
import { definePass, type Refusal } from '../pass.js'
import { checkSelection, selection, selector } from '../select.js'

/** Gains below this share of the median stay where they are: dividing by them would blow up the bias. */
const smallestGain = 1e-3

/**
 * Gamma migration (Outlier Suppression, part A): the gain of a norm moves into the weights that read it, and onto the
 * residual where the norm's output is added again; what is quantized between no longer carries the gain's outliers.
 */
export const gammaMigration = definePass({
  name: 'gamma-migration',
  summary: 'Move the gains of norms into the linears that read them',
  source: 'Outlier Suppression, 2022, section 4.1',
  options: z.strictObject({ ...selection }),
  needs: {},
  exact: true,
  async run(model, options) {
    const selected = selector(options)
    const refused: Refusal[] = []
    let changed = 0
    for (const graph of model.graphs.values()) {
      const norms = anatomyOf(graph).norms
      checkSelection(
        options,
        norms.map((norm) => norm.name),
      )
      for (const { name, node } of norms) {
        if (!selected(name)) continue
        const readers = readersOf(graph, node)
        if ('why' in readers) refused.push({ what: name, why: readers.why })
        else {
          await migrate(graph, name, node, readers)
          changed++
        }
      }
    }
    if (!changed && !refused.length) refused.push({ what: 'the model', why: 'no norm was found in it' })
    return { changed, refused }
  },
})

interface Readers {
  readonly linears: readonly Linear[]
  readonly residuals: readonly Use[]
}

/** Who reads a norm, sorted by what the gain does to them; or why it cannot move. */
function readersOf(graph: Graph, norm: Node): Readers | { readonly why: string } {
  const gain = norm.input(1)
  if (!gain?.tensor) return { why: 'its gain is no constant' }
  if (gain.dtype !== 'float32') return { why: `its gain is ${gain.dtype}` }
  if (gain.shape?.length !== 1 || gain.shape[0] !== norm.output.shape?.at(-1)) return { why: 'its gain is not one number for each channel' }
  const bias = norm.input(2)
  if (bias && (!bias.tensor || bias.shape?.join() !== gain.shape.join())) return { why: 'its bias is no constant of the size of its gain' }
  if (graph.outputs.includes(norm.output)) return { why: 'its output is an output of the graph' }
  const linears: Linear[] = []
  const residuals: Use[] = []
  for (const use of norm.output.uses) {
    const linear = linearAt(use.node)
    if (linear && use.index === 0) {
      if (linear.product.input(1) !== linear.weight || linear.weight.uses.size > 1 || linear.dtype !== 'float32')
        return { why: `the weight of ${linear.name} is quantized, transposed or shared` }
      linears.push(linear)
    } else if (isResidual(use.node)) residuals.push(use)
    else return { why: `${use.node.type} reads it too` }
  }
  return linears.length ? { linears, residuals } : { why: 'no linear reads it' }
}

async function migrate(graph: Graph, name: string, norm: Node, { linears, residuals }: Readers): Promise<void> {
  const gain = (await norm.input(1)!.tensor!.read()) as Float32Array
  const moved = migrationVector(gain)
  const size = gain.length
  const divide = (data: Float32Array) =>
    new ArrayTensor(
      'float32',
      [size],
      data.map((x, i) => x / moved[i]),
    )
  norm.setInput(1, graph.addConstant(`${name}.weight_migrated`, divide(gain)))
  const bias = norm.input(2)?.tensor
  if (bias) norm.setInput(2, graph.addConstant(`${name}.bias_migrated`, divide((await bias.read()) as Float32Array)))
  for (const { weight, outputs } of linears) {
    const tensor = weight.tensor!
    graph.setTensor(
      weight,
      new LazyTensor('float32', tensor.shape, async () => {
        const data = (await tensor.read()) as Float32Array
        return data.map((x, i) => x * moved[Math.floor(i / outputs)])
      }),
    )
  }
  if (residuals.length) {
    const factor = graph.addConstant(`${name}.residual_gain`, new ArrayTensor('float32', [size], moved))
    const net = new Net(graph, undefined, norm.name)
    const product = net.op('Mul', [norm.output, factor], {}, { before: norm.next! })
    for (const { node, index } of residuals) node.setInput(index, product)
  }
  graph.prune()
}

/** The part of the gain that moves: all of it, but 1 where it is too small to divide by. */
function migrationVector(gain: Float32Array): Float32Array {
  const sizes = gain.map(Math.abs).sort()
  const least = smallestGain * sizes[sizes.length >> 1]
  return gain.map((g) => (Math.abs(g) >= least && g !== 0 ? g : 1))
}
