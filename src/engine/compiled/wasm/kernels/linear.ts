import type { Tensor } from '../../../../ir/tensor.js'
import { mostListedInputs } from '../../coupled-groups.js'
import { partsOf, roundUp, type StepOf, type Weight, weightColumns } from '../../plan/steps.js'
import type { Word } from '../../program.js'
import type { Constants } from '../constants.js'
import type { FunctionBuilder, Local } from '../function.js'
import type { WasmFeatures } from '../module.js'
import { i16x8, i32, v128 } from '../values.js'
import { coarseError } from './functions.js'
import { copies, eachChunk, eachRow, rowsOf, type WasmKernel, walk } from './kernel.js'
import { linearKernel, rowsOfBlock, type Words } from './panel-loop.js'
import { packPanels } from './panels.js'
import { codeOffset, multipliersOf } from './quantize.js'
import { callTile, codeForm, type Epilogue, epilogueName, type ProductForm, productForms } from './tile.js'

export type Int8Weight = Extract<Weight, { kind: 'int8' }>

/** A product with float32 weights, which are made of some tensors. */
export function floatLinear(
  step: StepOf<'linear'>,
  tensors: readonly Tensor[],
  values: () => Float32Array,
  constants: Constants,
  target: Readonly<Record<string, Word>> = {},
): WasmKernel {
  const { input, bias } = step
  const form = productForms.float32
  const written = codesHeader(step, constants)
  const panels = constants.made([...tensors, ...written.tensors], `panels of float32${written.key} in ${partsOf(step)}`, () => {
    const outputs = weightColumns(step)
    const start = bias ? (constants.elements(bias) as Float32Array) : new Float32Array(outputs)
    return packPanels({ form, inputs: input.columns, outputs, parts: partsOf(step), codes: values(), header: [start, ...written.parts()] })
  })
  return product(step, form, 'none', panels, written.multipliers(), target)
}

/** A product of codes of up to `highest` with weights of 8 bits. */
export function codeLinear(
  step: StepOf<'linear'>,
  weight: Int8Weight,
  constants: Constants,
  highest: number,
  features: WasmFeatures,
): WasmKernel {
  const codes = constants.elements(weight.codes) as Int8Array
  const pairs = () => step.input.columns <= mostListedInputs && pairsFit(codes, weightColumns(step), highest)
  const form = codeForm(features, highest, pairs)
  const scale = weight.input.kind === 'static' ? 'columns' : 'rows'
  return product(step, form, scale, codePanels(step, weight, form, highest, constants), codesHeader(step, constants).multipliers())
}

function codePanels(step: StepOf<'linear'>, weight: Int8Weight, form: ProductForm, highest: number, constants: Constants): ArrayBufferView {
  const { input: quantization } = weight
  const [inputs, outputs] = [step.input.columns, weightColumns(step)]
  const written = codesHeader(step, constants)
  const range = quantization.kind === 'static' ? `${quantization.scale} ${quantization.zeroPoint}` : 'rows'
  const tensors = [weight.codes, weight.scale, ...(step.bias ? [step.bias] : []), ...written.tensors]
  return constants.made(
    tensors,
    `panels ${form.name} ${form.vectors} up to ${highest} ${range}${written.key} in ${partsOf(step)}`,
    ([elements, scales]) => {
      const codes = elements as Int8Array
      const sums = columnSums(codes, inputs, outputs)
      const [factor, offset] = quantization.kind === 'static' ? [quantization.scale, -quantization.zeroPoint] : [1, 1]
      return packPanels({
        form,
        inputs,
        outputs,
        parts: partsOf(step),
        codes,
        highest,
        header: [
          sums.map((sum) => offset * sum),
          Float32Array.from(scales as Float32Array, (scale) => factor * scale),
          step.bias ? (constants.elements(step.bias) as Float32Array) : new Float32Array(outputs),
          ...written.parts(),
        ],
      })
    },
  )
}

/** What panels say of the codes that are written, and what it is made of. */
function codesHeader({ quantizer, output: { columns } }: StepOf<'linear'>, constants: Constants) {
  if (!quantizer) return { key: '', tensors: [], multipliers: () => undefined, parts: () => [] }
  const { factors, quantization } = quantizer
  const multipliers = () => multipliersOf(quantizer, columns, constants)
  return {
    key: ` to ${quantization.scale} ${quantization.zeroPoint}${factors ? ' factors' : ''}`,
    tensors: factors ? [factors] : [],
    multipliers,
    parts: () => [multipliers(), new Int32Array(columns).fill(codeOffset(quantization.zeroPoint))],
  }
}

/** Whether two products side by side are sure to fit in 16 bits, with codes of up to `highest`. */
function pairsFit(codes: Int8Array, outputs: number, highest: number): boolean {
  const [most, least] = [Math.floor((2 ** 15 - 1) / highest), Math.floor(2 ** 15 / highest)]
  for (let row = 0; row < codes.length; row += 2 * outputs) {
    const hasNext = row + outputs < codes.length
    for (let i = row; i < row + outputs; i++) {
      const [a, b] = [codes[i], hasNext ? codes[i + outputs] : 0]
      const high = (a > 0 ? a : 0) + (b > 0 ? b : 0)
      if (high > most || high - a - b > least) return false
    }
  }
  return true
}

function columnSums(codes: Int8Array, inputs: number, outputs: number): Int32Array {
  const sums = new Int32Array(outputs)
  for (let i = 0; i < inputs; i++) for (let o = 0; o < outputs; o++) sums[o] += codes[i * outputs + o]
  return sums
}

/** The part of a step between two codes that an activation may be off by. */
const leastPart = 1 / 32

function product(
  step: StepOf<'linear'>,
  form: ProductForm,
  scale: Epilogue['scale'],
  panels: ArrayBufferView,
  multipliers: Float32Array | undefined,
  target: Readonly<Record<string, Word>> = {},
): WasmKernel {
  const { input, weight, gated, residual, quantizer } = step
  const activation = gated ? undefined : step.activation
  const inputs = input.columns
  const quantization = weight.kind === 'int8' && weight.input.kind === 'rows' ? weight.input : undefined
  const widened = form.name === 'words'
  const shape = { tileRows: form.rows, rowBytes: widened ? roundUp(inputs, 8) * form.inputBytes : inputs * form.inputBytes }
  const coarse = activation && multipliers?.every((one) => coarseError * Math.abs(one) <= leastPart)
  const epilogue: Epilogue = { scale, activation, coarse, residual: residual !== undefined, codes: quantizer?.highest }
  return linearKernel(step, {
    key: `linear ${form.name} ${epilogueName(epilogue)}${widened ? ` of ${inputs}` : ''}`,
    columns: 4 * form.vectors,
    ...shape,
    panels,
    isWhole: true,
    words: {
      groups: Math.ceil(inputs / form.group),
      ...(widened && { widened: { scratch: rowsOfBlock(shape) * shape.rowBytes } }),
      ...(quantization && rowsOf('parameters', quantization.parameters)),
      ...target,
    },
    ...(widened && { prepare: (f, w, block) => widen(f, w, block, inputs, shape.rowBytes) }),
    tile: (f, w, rows, columns, _, pointers) => callTile(f, { form, epilogue, rows, columns }, { groups: w.groups, ...pointers }),
  })
}

/** Copies rows of codes to words of 16 bits. */
function widen(f: FunctionBuilder, w: Words, block: Local<'i32'>, inputs: number, rowBytes: number) {
  const [row, target] = copies(f, w.input, w.widened)
  const inputStride = f.local('i32', i32.const(rowBytes))
  eachRow(f, block, [walk(row, w.inputStride), walk(target, inputStride)], () => {
    const [from, to] = copies(f, row, target)
    const words = i16x8.extend_low_i8x16_u(v128.load64_zero(from))
    eachChunk(f, roundUp(inputs, 8), 8, [walk(from, 1), walk(to, 2)], () => f.do(v128.store(to, words)))
  })
  return { input: w.widened, inputStride }
}
