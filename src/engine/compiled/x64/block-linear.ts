import { ArrayTensor, type Tensor, transposed } from '../../../ir/tensor.js'
import { fromCodes, toCodes } from '../../../numbers/minifloat.js'
import { partsOf, type StepOf, type Weight, weightColumns } from '../plan/steps.js'
import type { StepKernel, Word } from '../program.js'
import { quantizeBlocks, quantizeBlocksParameters } from './block-activations.js'
import { activationBlock, type BlockEpilogue, blockGemm, blockGemmParameters } from './block-gemm.js'
import { chooseBlockMachine } from './block-machine.js'
import { type BlockFormat, type BlockSource, blockInputs, packBlocks } from './block-weights.js'
import { stepKernel, type X64Context } from './context.js'
import { panelShares } from './panel-shares.js'
import { rowWords } from './rows.js'

type Linear = StepOf<'linear'>

/** A weight in blocks of 4 or 8 bits. */
export type BlockWeight = Extract<Weight, { kind: 'blocks' }>

/** Whether blocks of the weight are whole blocks of the kernels; others are products of floats. */
export function hasBlockKernels({ block }: BlockWeight): boolean {
  return block % blockInputs === 0
}

/** The numbers that the blocks stand for [inputs, outputs]. */
export async function floatsOfBlocks({ block, codes, scale, minimum }: BlockWeight): Promise<Tensor> {
  const [integers, scales, minimums] = await Promise.all([codes.read(), scale.read(), minimum.read()])
  const values = Float32Array.from(integers as Uint8Array, (code, i) => {
    const at = Math.floor(i / block)
    return Number(scales[at]) * code + Number(minimums[at])
  })
  return transposed(new ArrayTensor('float32', codes.shape, values))
}

/**
 * The kernels of a linear with weights in blocks, with bias and residual: activations are quantized to blocks of bytes, each row by itself,
 * and multiplied as whole numbers.
 */
export async function blockLinearKernels(step: Linear, weight: BlockWeight, { features }: X64Context): Promise<StepKernel<Uint8Array>[]> {
  const { input, residual, output } = step
  const machine = chooseBlockMachine(features)!
  const { source, format } = await blockSourceOf(step, weight)
  const panels = packBlocks(source, format, machine, residual?.buffer === output.buffer ? 'skip' : 'repeat')
  const epilogue: BlockEpilogue = {
    bias: step.bias !== undefined,
    ...(step.gated ? { gate: step.activation } : { residual: residual !== undefined }),
  }
  const rows: Word = { rows: output.buffer.per }
  const stride = panels.blocks * activationBlock.bytes
  const activations: Word = { scratch: stride, per: output.buffer.per }
  const words = {
    activations,
    activationStride: stride,
    rows,
    panels: { constant: panels.bytes },
    panelCount: panels.count,
    panelStride: panels.stride,
    lastColumn: panels.lastColumn,
    blocks: panels.blocks,
    ...rowWords('output', output),
    ...rowWords('residual', step.gated ? output : residual),
    rowParameters: 0,
  }
  return [
    stepKernel({
      name: 'quantizeBlocks',
      shape: {},
      code: quantizeBlocks,
      parameters: quantizeBlocksParameters,
      words: {
        ...rowWords('input', input),
        rows,
        blocks: panels.blocks,
        output: activations,
        outputStride: stride,
      },
    }),
    stepKernel({
      name: 'blockGemm',
      shape: { machine: machine.name, format, epilogue },
      code: () => blockGemm(machine, format, epilogue),
      parameters: blockGemmParameters,
      words,
      split: panelShares(words, machine.columns, source.parts),
    }),
  ]
}

/** The weight as it is packed, in the smallest format that holds it exactly. */
async function blockSourceOf(
  { input, output, gated, bias }: Linear,
  { bits, block, codes, scale, minimum }: BlockWeight,
): Promise<{ source: BlockSource; format: BlockFormat }> {
  const [scales, minima] = (await Promise.all([scale.read(), minimum.read()])) as Float32Array[]
  const middle = 2 ** (bits - 1)
  const symmetric = isMultiple(minima, scales, -middle)
  const zero = bits === 8 ? 128 : symmetric ? 8 : 0
  const factors = [scales, ...(symmetric ? [] : [minima.map((value, i) => value + zero * scales[i])])].map((values) =>
    repeated(values, block / blockInputs),
  )
  const halves = factors.map(halvesOf)
  const halfScales = halves.every((half) => half !== null)
  const [stored, storedMinimums] = halfScales ? halves : factors
  const source: BlockSource = {
    inputs: input.columns,
    outputs: weightColumns({ gated, output }),
    parts: partsOf({ gated }),
    codes: await codes.bytes(),
    scales: stored,
    ...(storedMinimums && { minimums: storedMinimums }),
    bias: bias && ((await bias.read()) as Float32Array),
  }
  return { source, format: { bits, zero, minimums: !symmetric, halfScales } }
}

function isMultiple(values: Float32Array, of: Float32Array, factor: number): boolean {
  for (let i = 0; i < values.length; i++) if (values[i] !== factor * of[i]) return false
  return true
}

/** Each factor so many times. */
function repeated(factors: Float32Array, times: number): Float32Array {
  return times === 1 ? factors : Float32Array.from({ length: times * factors.length }, (_, i) => factors[Math.floor(i / times)])
}

/** The numbers as bits of float16; null where one is none. */
function halvesOf(values: Float32Array): Uint16Array | null {
  const halves = toCodes('float16', values) as Uint16Array
  const back = fromCodes('float16', halves)
  for (let i = 0; i < values.length; i++) if (back[i] !== values[i]) return null
  return halves
}
