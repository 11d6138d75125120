import * as z from 'zod'
import { int } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import { LazyTensor, type Tensor } from '../../ir/tensor.js'
import { Net } from '../../nn/net.js'
import { roundToMinifloat } from '../../numbers/minifloat.js'
import { inferShapes } from '../../ops/infer.js'
import { definePass, type Refusal } from '../pass.js'

/** Largest number that 16 bits hold; weights beyond it would become infinite. */
const largest = 65504

const float32Code = 1
const float16Code = 10

/**
 * Weights and arithmetic in 16-bit floats; inputs and outputs stay float32, as clients expect. Norms compute inside in
 * float32 (stash_type), so nothing overflows there.
 */
export const float16 = definePass({
  name: 'float16',
  summary: 'Weights and arithmetic in 16-bit floats, inputs and outputs in float32',
  source: 'IEEE 754 binary16; mixed precision of Micikevicius et al., 2017',
  options: z.strictObject({}),
  needs: {},
  exact: false,
  async run(model) {
    const refused: Refusal[] = []
    let changed = 0
    for (const graph of model.graphs.values()) changed += await convert(graph, refused)
    return { changed, refused }
  },
})

async function convert(graph: Graph, refused: Refusal[]): Promise<number> {
  const constants = [...graph.constants.values()].filter((constant) => constant.dtype === 'float32')
  for (const constant of constants) {
    const beyond = constant.shape!.length >= 2 ? await firstBeyond(constant.tensor!) : undefined
    if (beyond === undefined) continue
    refused.push({ what: constant.name, why: `it holds ${beyond}, more than float16 can` })
    return 0
  }
  for (const constant of constants) graph.setTensor(constant, halved(constant.tensor!))
  if (!constants.length) refused.push({ what: graph.name, why: 'it holds no float32 constants' })
  const net = new Net(graph)
  for (const input of graph.inputs) if (input.dtype === 'float32') castUses(graph, net, input)
  for (const node of graph.nodes()) {
    if (node.type === 'Cast' && node.int('to') === float32Code && node.input(0)?.dtype !== 'float16')
      node.setAttribute('to', int(float16Code))
    for (const output of node.outputs) if (output.dtype === 'float32') output.dtype = null
  }
  inferShapes(graph)
  for (const output of [...graph.outputs]) if (output.dtype === 'float16') castOutput(graph, output)
  return constants.length
}

async function firstBeyond(tensor: Tensor): Promise<number | undefined> {
  return ((await tensor.read()) as Float32Array).find((x) => Number.isFinite(x) && Math.abs(x) > largest)
}

/** The nearest 16-bit floats; masks and sentinels beyond their range become its ends. */
function halved(tensor: Tensor): Tensor {
  return new LazyTensor('float16', tensor.shape, async () => {
    const data = (await tensor.read()) as Float32Array
    return roundToMinifloat(
      'float16',
      data.map((x) => Math.min(Math.max(x, -largest), largest)),
    )
  })
}

function castUses(graph: Graph, net: Net, input: Value): void {
  const uses = [...input.uses]
  const first = graph.first
  if (!uses.length || !first) return
  const half = net.op('Cast', [input], { to: int(float16Code) }, { before: first })
  for (const { node, index } of uses) node.setInput(index, half)
}

/** The public output is float32 again under its old name. */
function castOutput(graph: Graph, output: Value): void {
  const name = output.name
  const at = graph.outputs.indexOf(output)
  graph.rename(output, graph.uniqueName(`${name}_half`))
  const full = new Net(graph).op('Cast', [output], { to: int(float32Code) })
  graph.rename(full, name)
  graph.outputs[at] = full
}
