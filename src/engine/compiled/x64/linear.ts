import { ArrayTensor, type Tensor } from '../../../ir/tensor.js'
import { mostListedInputs } from '../coupled-groups.js'
import { isView, partsOf, roundUp, rowBytes, type StepOf, type View, type Weight, weightColumns, whole } from '../plan/steps.js'
import type { StepKernel, Word } from '../program.js'
import { activationKernels } from './activation.js'
import { blockLinearKernels, floatsOfBlocks, hasBlockKernels } from './block-linear.js'
import { chooseBlockMachine } from './block-machine.js'
import { combineKernels } from './combine.js'
import { stepKernel, type X64Context } from './context.js'
import { chooseDotMachine, chooseFloatMachine, type DotMachine, dotMachines, panelColumns } from './dot-machine.js'
import { type Epilogue, panelOrder } from './epilogue.js'
import { coarseError, emitCoarseFunctions } from './functions.js'
import { gemm, gemmParameters } from './gemm.js'
import { amxInputMultiple, gemmAmx } from './gemm-amx.js'
import { panelShares } from './panel-shares.js'
import { type PanelPacker, type PanelSource, packPanels, pairsFit, surveyOf } from './panels.js'
import { multipliersOf, quantizeKernels } from './quantize.js'
import { mayOverrun, rowWords } from './rows.js'
import { widen, widenParameters } from './widen.js'

type Linear = StepOf<'linear'>
type Kernels = readonly StepKernel<Uint8Array>[]

/** The kernels of a linear: the product with what its tiles can do on the way, then the rest in kernels of its own. */
export async function linearKernels(step: Linear, context: X64Context): Promise<Kernels> {
  const { name, residual, quantizer, output, ...rest } = step
  const [own, activation] = step.gated ? [step.activation, undefined] : [undefined, step.activation]
  const isWithin = await isDoneByTiles(step)
  const panel = leastColumns(step.weight, context)
  const fits = output.columns >= panel || mayOverrun(output, panel)
  const isWhole = isWithin ? !residual || !(activation || quantizer) : !activation && !quantizer
  if (isWhole && fits) return productKernels(step, context)
  const product = fits && !residual && !quantizer ? output : temporaryOf(output)
  const kernels = [...(await productKernels({ name, ...rest, activation: own, output: product }, context))]
  if (activation) kernels.push(...activationKernels({ function: activation, input: product, output: product }, context))
  if (residual || (product !== output && !quantizer)) {
    const right = residual ?? new ArrayTensor('float32', [1], Float32Array.of(1))
    const operator = residual ? 'add' : 'multiply'
    const sum = quantizer ? product : output
    kernels.push(...(await combineKernels({ kind: 'combine', name, operator, left: product, right, output: sum }, context)))
  }
  if (quantizer) kernels.push(...(await quantizeKernels({ kind: 'quantize', name, input: product, ...quantizer, output }, context)))
  return product === output ? kernels : withScratch(kernels, product)
}

/** Whether tiles can do what follows the sums, and as fast as kernels of its own: functions of many instructions they do slower. */
async function isDoneByTiles({ weight, activation, quantizer, output }: Linear): Promise<boolean> {
  if (weight.kind === 'blocks' && hasBlockKernels(weight)) return false
  if (!activation || activation === 'relu') return true
  if (!quantizer || !emitCoarseFunctions[activation]) return false
  const factors = await multipliersOf(quantizer, output.columns)
  return factors.every((factor) => coarseError * Math.abs(factor) <= leastPart)
}

/** The part of a step between two codes that an activation may be off by. */
const leastPart = 1 / 32

/** Columns that a product writes at least. */
function leastColumns(weight: Weight, { features }: X64Context): number {
  if (weight.kind === 'blocks' && hasBlockKernels(weight)) return chooseBlockMachine(features)!.columns
  return panelColumns((weight.kind === 'int8' ? chooseDotMachine(features, 'avx2Words') : chooseFloatMachine(features))!)
}

/** A buffer that no plan knows, for results of this step alone. */
function temporaryOf({ buffer, columns }: View): View {
  return whole({ name: 'temporary', per: buffer.per, columns, dtype: 'float32' })
}

/** The kernels with scratch memory in place of the temporary buffer. */
function withScratch(kernels: Kernels, { buffer }: View): Kernels {
  const scratch: Word = { scratch: rowBytes(buffer), per: buffer.per }
  const isTemporary = (word: Word) =>
    typeof word === 'object' && 'address' in word && isView(word.address) && word.address.buffer === buffer
  return kernels.map(({ key, code, words }) => ({ key, code, words: words.map((word) => (isTemporary(word) ? scratch : word)) }))
}

async function productKernels(step: Linear, context: X64Context): Promise<Kernels> {
  const { weight } = step
  if (weight.kind === 'int8') return byteKernels(step, weight, context)
  if (weight.kind === 'float32') return floatKernels(step, weight.values, context)
  if (hasBlockKernels(weight)) return blockLinearKernels(step, weight, context)
  return floatKernels(step, await floatsOfBlocks(weight), context)
}

async function floatKernels(step: Linear, weight: Tensor, { features, packer }: X64Context): Promise<Kernels> {
  const machine = chooseFloatMachine(features)!
  const { epilogue, factor } = await epilogueOf(step)
  const source = {
    factor,
    inputs: step.input.columns,
    outputs: weightColumns(step),
    parts: partsOf(step),
    codes: (await weight.read()) as Float32Array,
    start: step.bias && ((await step.bias.read()) as Float32Array),
  }
  return [panelKernel(step, machine, epilogue, source, packer, { address: step.input }, { stride: step.input })]
}

async function byteKernels(step: Linear, weight: Extract<Weight, { kind: 'int8' }>, context: X64Context): Promise<Kernels> {
  const { input, output } = step
  const [inputs, outputs] = [input.columns, weightColumns(step)]
  const codes = (await weight.codes.read()) as Int8Array
  const scale = (await weight.scale.read()) as Float32Array
  const bias = step.bias && ((await step.bias.read()) as Float32Array)
  const { epilogue: general, factor } = await epilogueOf(step, weight.input.kind === 'rows')
  const { features, packer } = context
  const survey = packer?.survey(codes, outputs) ?? surveyOf(codes, outputs)
  const zeroPoint = weight.input.kind === 'static' ? weight.input.zeroPoint : 0
  const source: PanelSource = {
    inputs,
    outputs,
    parts: partsOf(step),
    codes,
    sums: survey.sums,
    bias,
    factor,
    ...(weight.input.kind === 'static'
      ? {
          scale: scale.map((value) => value * (weight.input as { scale: number }).scale),
          start: survey.sums.map((sum) => -zeroPoint * sum),
        }
      : { scale }),
  }
  const epilogue = general.kind === 'codes' && weight.input.kind === 'static' ? { ...general, bounded: isBounded(source) } : general
  const highest = context.highestCode(input)
  const exact = !pairsFit(survey, highest) ? 'avx2Words' : inputs > mostListedInputs ? 'avx2Bytes' : 'avx2Couples'
  const machine = chooseDotMachine(features, exact)!
  const parameters = weight.input.kind === 'rows' ? weight.input.parameters : undefined
  if (machine.group === 4)
    return [
      panelKernel(step, machine, epilogue, source, packer, { address: input }, { stride: input }, parameters, features.amxInt8, highest),
    ]
  const stride = 2 * roundUp(inputs, 16)
  const wide: Word = { scratch: stride, per: output.buffer.per }
  const widening = stepKernel({
    name: 'widen',
    shape: {},
    code: widen,
    parameters: widenParameters,
    words: {
      input: { address: input },
      inputStride: { stride: input },
      rows: { rows: output.buffer.per },
      inputs,
      output: wide,
      outputStride: stride,
    },
  })
  return [widening, panelKernel(step, machine, epilogue, source, packer, wide, stride, parameters)]
}

/** Whether no result times its factor can reach 2^31; functions of results are not larger than they, or than 1. */
function isBounded({ inputs, outputs, scale, bias, factor }: PanelSource): boolean {
  const largestSum = 255 * 128 * inputs
  const isSmall = (n: number) => (largestSum * Math.abs(scale![n]) + Math.abs(bias?.[n] ?? 0) + 1) * Math.abs(factor![n]) < 2 ** 30
  return Array.from({ length: outputs }, (_, n) => n).every(isSmall)
}

/** What follows the sums of a product, and the factors for it. */
async function epilogueOf(
  { bias, activation, gated, residual, quantizer, output }: Linear,
  rows = false,
): Promise<{ epilogue: Epilogue; factor?: Float32Array }> {
  const numbers = { rows, bias: bias !== undefined, activation }
  return quantizer
    ? { epilogue: { kind: 'codes', ...numbers }, factor: await multipliersOf(quantizer, output.columns) }
    : { epilogue: { kind: 'f32', ...numbers, residual: residual !== undefined, gated } }
}

function panelKernel(
  { gated, residual, quantizer, output }: Linear,
  machine: DotMachine,
  epilogue: Epilogue,
  source: PanelSource,
  packer: PanelPacker | undefined,
  activations: Word,
  activationStride: Word,
  rowParameters?: View,
  tiles = false,
  highest?: number,
): StepKernel<Uint8Array> {
  const layout = tiles ? dotMachines.avx512Vnni : machine
  const panelLayout = {
    machine: layout,
    order: panelOrder(epilogue),
    highest,
    overlap: residual?.buffer === output.buffer ? 'skip' : 'repeat',
    ...(tiles && { inputMultiple: amxInputMultiple }),
  } as const
  const panels = packPanels(source, panelLayout, packer)
  const words = {
    activations,
    activationStride,
    rows: { rows: output.buffer.per },
    panels: { constant: panels.bytes },
    panelCount: panels.count,
    panelStride: panels.stride,
    lastColumn: panels.lastColumn,
    groups: panels.groups,
    output: { address: output },
    outputStride: { stride: output },
    ...rowWords('residual', gated ? output : residual),
    ...rowWords('rowParameters', rowParameters),
    zeroPoint: quantizer?.quantization.zeroPoint ?? 0,
    high: quantizer?.highest ?? 0,
  }
  return stepKernel({
    name: 'gemm',
    shape: { machine: tiles ? 'amx' : machine.name, epilogue },
    code: () => (tiles ? gemmAmx(epilogue) : gemm(machine, epilogue)),
    parameters: gemmParameters,
    words,
    split: panelShares(words, panelColumns(layout), source.parts),
  })
}
