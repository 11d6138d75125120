import type { Tensor } from '../../../../ir/tensor.js'
import { roundUp, type StepOf, type Weight } from '../../plan/steps.js'
import type { Constants } from '../constants.js'
import type { FunctionBuilder, Local } from '../function.js'
import type { WasmFeatures } from '../module.js'
import { i16x8, i32, v128 } from '../values.js'
import { copies, eachChunk, eachRow, type WasmKernel, walk } from './kernel.js'
import { linearKernel, rowsOfBlock, type Words } from './panel-loop.js'
import { packPanels } from './panels.js'
import { rowsOf } from './rows.js'
import { callTile, type Epilogue, type ProductForm, productForms } from './tile.js'

export type Int8Weight = Extract<Weight, { kind: 'int8' }>

/** A product with float32 weights, which are made of some tensors. */
export function floatLinear(
  step: StepOf<'linear'>,
  tensors: readonly Tensor[],
  values: () => Float32Array,
  constants: Constants,
): WasmKernel {
  const { input, output, bias } = step
  const form = productForms.float32
  const panels = constants.made(tensors, 'panels of float32', () => {
    const start = bias ? (constants.elements(bias) as Float32Array) : new Float32Array(output.columns)
    return packPanels({ form, inputs: input.columns, outputs: output.columns, codes: values(), header: [start] })
  })
  return product(step, form, 'none', panels)
}

/** A product of codes of up to `highest` with weights of 8 bits. */
export function codeLinear(
  step: StepOf<'linear'>,
  weight: Int8Weight,
  constants: Constants,
  highest: number,
  { dot }: WasmFeatures,
): WasmKernel {
  const form = highest <= 127 && dot !== 'none' ? productForms.bytes : productForms.words
  const scale = weight.input.kind === 'static' ? 'columns' : 'rows'
  return product(step, form, scale, codePanels(step, weight, form, constants))
}

function codePanels(
  { input, output, bias }: StepOf<'linear'>,
  weight: Int8Weight,
  form: ProductForm,
  constants: Constants,
): ArrayBufferView {
  const { input: quantization } = weight
  const [inputs, outputs] = [input.columns, output.columns]
  const name = `panels ${form.name} ${quantization.kind === 'static' ? `${quantization.scale} ${quantization.zeroPoint}` : 'rows'}`
  return constants.made([weight.codes, weight.scale, ...(bias ? [bias] : [])], name, ([elements, scales, terms]) => {
    const codes = elements as Int8Array
    const sums = columnSums(codes, inputs, outputs)
    const [factor, offset] = quantization.kind === 'static' ? [quantization.scale, -quantization.zeroPoint] : [1, 1]
    return packPanels({
      form,
      inputs,
      outputs,
      codes,
      header: [
        sums.map((sum) => offset * sum),
        Float32Array.from(scales as Float32Array, (scale) => factor * scale),
        (terms as Float32Array | undefined) ?? new Float32Array(outputs),
      ],
    })
  })
}

function columnSums(codes: Int8Array, inputs: number, outputs: number): Int32Array {
  const sums = new Int32Array(outputs)
  for (let i = 0; i < inputs; i++) for (let o = 0; o < outputs; o++) sums[o] += codes[i * outputs + o]
  return sums
}

function product(step: StepOf<'linear'>, form: ProductForm, scale: Epilogue['scale'], panels: ArrayBufferView): WasmKernel {
  const { input, weight } = step
  const inputs = input.columns
  const quantization = weight.kind === 'int8' && weight.input.kind === 'rows' ? weight.input : undefined
  const widened = form.name === 'words'
  const shape = { tileRows: form.rows, rowBytes: widened ? roundUp(inputs, 8) * form.inputBytes : inputs * form.inputBytes }
  return linearKernel(step, {
    key: `linear ${form.name} ${scale}${widened ? ` of ${inputs}` : ''}`,
    columns: 4 * form.vectors,
    ...shape,
    panels,
    words: {
      groups: Math.ceil(inputs / form.group),
      ...(widened && { widened: { scratch: rowsOfBlock(shape) * shape.rowBytes } }),
      ...(quantization && rowsOf('parameters', quantization.parameters)),
    },
    ...(widened && { prepare: (f, w, block) => widen(f, w, block, inputs, shape.rowBytes) }),
    tile: (f, w, rows, columns, options, pointers) =>
      callTile(f, { form, epilogue: { scale, ...options }, rows, columns }, { groups: w.groups, ...pointers }),
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
