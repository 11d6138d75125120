import { ArrayTensor, type Tensor } from '../../../ir/tensor.js'
import { roundToMinifloat } from '../../../numbers/minifloat.js'
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
export async function floatsOfBlocks({ block, codes, scale, minimum }: BlockWeight, outputs: number): Promise<Tensor> {
  const [integers, scales, minimums] = await Promise.all([codes.read(), scale.read(), minimum.read()])
  const values = Float32Array.from(integers as Uint8Array, (code, i) => {
    const at = Math.floor(i / (block * outputs)) * outputs + (i % outputs)
    return Number(scales[at]) * code + Number(minimums[at])
  })
  return new ArrayTensor('float32', [values.length / outputs, outputs], values)
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
  weight: BlockWeight,
): Promise<{ source: BlockSource; format: BlockFormat }> {
  const { bits, block } = weight
  const [inputs, outputs] = [input.columns, weightColumns({ gated, output })]
  const codes = (await weight.codes.read()) as Uint8Array
  const [scale, minimum] = (await Promise.all([weight.scale.read(), weight.minimum.read()])) as Float32Array[]
  // 8-bit codes are stored with a sign.
  const middle = 2 ** (bits - 1)
  const offset = bits === 8 ? middle : 0
  const minimums = minimum.some((value, i) => value !== -middle * scale[i])
  const source: BlockSource = {
    inputs,
    outputs,
    parts: partsOf({ gated }),
    codes: offset ? lowered(codes, offset) : codes,
    scales: repeated(scale, outputs, block / blockInputs),
    bias: bias && ((await bias.read()) as Float32Array),
    ...(minimums && {
      minimums: repeated(
        minimum.map((value, i) => value + offset * scale[i]),
        outputs,
        block / blockInputs,
      ),
    }),
  }
  const halfScales = isHalf(source.scales) && (!source.minimums || isHalf(source.minimums))
  return { source, format: { bits, zero: bits === 4 && !minimums ? 8 : 0, minimums, halfScales } }
}

function lowered(codes: Uint8Array, offset: number): Int8Array {
  const result = new Int8Array(codes.length)
  for (let i = 0; i < codes.length; i++) result[i] = codes[i] - offset
  return result
}

/** Each row [outputs] of factors so many times. */
function repeated(factors: Float32Array, outputs: number, times: number): Float32Array {
  if (times === 1) return factors
  const result = new Float32Array(times * factors.length)
  for (let row = 0; row < result.length / outputs; row++) {
    const from = Math.floor(row / times) * outputs
    result.set(factors.subarray(from, from + outputs), row * outputs)
  }
  return result
}

function isHalf(values: Float32Array): boolean {
  const half = roundToMinifloat('float16', values)
  return values.every((value, i) => value === half[i])
}
