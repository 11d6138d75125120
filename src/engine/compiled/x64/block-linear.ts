import { ArrayTensor, type Tensor } from '../../../ir/tensor.js'
import { roundToMinifloat } from '../../../numbers/minifloat.js'
import type { StepOf, Weight } from '../plan/steps.js'
import type { StepKernel, Word } from '../program.js'
import { quantizeBlocks, quantizeBlocksParameters } from './block-activations.js'
import { activationBlock, type BlockEpilogue, blockGemm, blockGemmParameters } from './block-gemm.js'
import { chooseBlockMachine } from './block-machine.js'
import { type BlockFormat, type BlockSource, blockInputs, packBlocks } from './block-weights.js'
import { stepKernel, type X64Context } from './context.js'

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
  const epilogue: BlockEpilogue = { bias: step.bias !== undefined, residual: residual !== undefined }
  const rows: Word = { rows: output.buffer.per }
  const stride = panels.blocks * activationBlock.bytes
  const activations: Word = { scratch: stride, per: output.buffer.per }
  return [
    stepKernel({
      name: 'quantizeBlocks',
      shape: {},
      code: quantizeBlocks,
      parameters: quantizeBlocksParameters,
      words: {
        input: { address: input },
        inputStride: { stride: input },
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
      words: {
        activations,
        activationStride: stride,
        rows,
        panels: { constant: panels.bytes },
        panelCount: panels.count,
        panelStride: panels.stride,
        lastColumn: panels.lastColumn,
        blocks: panels.blocks,
        output: { address: output },
        outputStride: { stride: output },
        residual: residual ? { address: residual } : 0,
        residualStride: residual ? { stride: residual } : 0,
        rowParameters: 0,
      },
    }),
  ]
}

/** The weight as it is packed, in the smallest format that holds it exactly. */
async function blockSourceOf({ input, output, bias }: Linear, weight: BlockWeight): Promise<{ source: BlockSource; format: BlockFormat }> {
  const { bits, block } = weight
  const [inputs, outputs] = [input.columns, output.columns]
  const codes = (await weight.codes.read()) as Uint8Array
  const [scale, minimum] = (await Promise.all([weight.scale.read(), weight.minimum.read()])) as Float32Array[]
  // 8-bit codes are stored with a sign.
  const middle = 2 ** (bits - 1)
  const offset = bits === 8 ? middle : 0
  const minimums = minimum.some((value, i) => value !== -middle * scale[i])
  const source: BlockSource = {
    inputs,
    outputs,
    codes: transposed(codes, bits === 8 ? new Int8Array(codes.length) : new Uint8Array(codes.length), outputs, offset),
    scales: perBlock(scale, inputs, outputs, block),
    bias: bias && ((await bias.read()) as Float32Array),
    ...(minimums && {
      minimums: perBlock(
        minimum.map((value, i) => value + offset * scale[i]),
        inputs,
        outputs,
        block,
      ),
    }),
  }
  const halfScales = isHalf(source.scales) && (!source.minimums || isHalf(source.minimums))
  return { source, format: { bits, zero: bits === 4 && !minimums ? 8 : 0, minimums, halfScales } }
}

/** [inputs, outputs] to [outputs, inputs], less an offset. */
function transposed<A extends Uint8Array | Int8Array>(codes: Uint8Array, result: A, outputs: number, offset: number): A {
  const inputs = codes.length / outputs
  for (let i = 0; i < inputs; i++) for (let n = 0; n < outputs; n++) result[n * inputs + i] = codes[i * outputs + n] - offset
  return result
}

/** [inputs / block, outputs] to [outputs, inputs / 32]: blocks that are longer repeat theirs. */
function perBlock(factors: Float32Array, inputs: number, outputs: number, block: number): Float32Array {
  const blocks = inputs / blockInputs
  return Float32Array.from({ length: outputs * blocks }, (_, i) => {
    const [n, b] = [Math.floor(i / blocks), i % blocks]
    return factors[Math.floor((b * blockInputs) / block) * outputs + n]
  })
}

function isHalf(values: Float32Array): boolean {
  const half = roundToMinifloat('float16', values)
  return values.every((value, i) => value === half[i])
}
