import type { Node, Value } from '../../../../ir/node.js'
import { LazyTensor, reshaped, type Tensor, transposed } from '../../../../ir/tensor.js'
import { BlockTensor, lowered, raised } from '../block-tensor.js'
import type { Meaning } from '../meaning.js'
import { type View, whole } from '../steps.js'
import type { TranslationRules, Translator } from '../translator.js'

/** Codes: rows that are quantized, and constants that are made of codes. */
export const quantizedRules: TranslationRules = {
  QuantizeLinear(node, translator) {
    const [value, scale, zeroPoint] = [node.input(0)!, node.input(1)?.tensor, node.input(2)?.tensor]
    if (scale?.size !== 1 || zeroPoint?.dtype !== 'uint8') return false
    const { source, factors } = scaledSource(value, translator)
    const rows = translator.rows(source)
    const [scaleNumber, zeroNumber] = [scale, zeroPoint].map(({ elements }) => Number(elements?.[0]))
    if (!rows || !(scaleNumber > 0) || Number.isNaN(zeroNumber)) return false
    const quantization = { kind: 'static', scale: scaleNumber, zeroPoint: zeroNumber } as const
    const output = codesLike(node.output, rows.view, translator)
    translator.add(node.output.name, { kind: 'quantize', input: rows.view, factors, quantization, highest: 255, output })
    return translator.mean(node.output, { kind: 'codes', view: output, quantization, dequantized: false })
  },

  /** Each row gets a range of its own where the operator has one for all: closer to the original, and the same in every batch. */
  DynamicQuantizeLinear(node, translator) {
    const { source, factors } = scaledSource(node.input(0)!, translator)
    const rows = translator.rows(source)
    if (!rows) return false
    const output = codesLike(node.output, rows.view, translator)
    const parameters = whole({ name: node.outputs[1].name, per: rows.view.buffer.per, columns: 2, dtype: 'float32' })
    const quantization = { kind: 'rows', parameters } as const
    translator.add(node.output.name, { kind: 'quantize', input: rows.view, factors, quantization, highest: 255, output })
    for (const value of node.outputs.slice(1)) translator.mean(value, { kind: 'row-parameters', view: parameters })
    return translator.mean(node.output, { kind: 'codes', view: output, quantization, dequantized: false })
  },

  DequantizeLinear(node, translator) {
    const codes = translator.meaning(node.input(0))
    if (codes?.kind === 'codes') return isOwnScale(node, codes, translator) && translator.mean(node.output, { ...codes, dequantized: true })
    return dequantizedConstant(node, translator)
  },

  Reshape(node, translator) {
    const meaning = translator.meaning(node.input(0))
    return meaning?.kind === 'dequantized' && meaning.weight.kind === 'blocks' && translator.mean(node.output, meaning)
  },

  Add(node, translator) {
    const [weight, minimum] = [translator.meaning(node.input(0)), node.input(1)?.tensor]
    if (weight?.kind !== 'dequantized' || weight.weight.kind !== 'blocks' || minimum?.size !== weight.weight.scale.size) return false
    return translator.mean(node.output, {
      kind: 'dequantized',
      weight: { ...weight.weight, minimum: summed(weight.weight.minimum, byOutput(minimum, weight.weight.codes.shape[0])) },
    })
  },
}

/** What a value was before it was multiplied by a row of constants. */
function scaledSource(value: Value, translator: Translator): { source: Value; factors?: Tensor } {
  const { producer } = value
  if (producer?.type !== 'Mul') return { source: value }
  const at = producer.inputs.findIndex((input) => input?.tensor?.shape.length === 1)
  const source = at < 0 ? null : producer.input(1 - at)
  return source && translator.rows(source) ? { source, factors: producer.input(at)!.tensor! } : { source: value }
}

function codesLike(value: Value, { buffer, columns }: View, translator: Translator): View {
  return translator.buffer(value, columns, { per: buffer.per, dtype: 'uint8' })
}

function isOwnScale(node: Node, { quantization }: Extract<Meaning, { kind: 'codes' }>, translator: Translator): boolean {
  const [scale, zeroPoint] = [node.input(1), node.input(2)]
  if (quantization.kind === 'rows') {
    const meaning = translator.meaning(scale)
    return meaning?.kind === 'row-parameters' && meaning.view === quantization.parameters
  }
  return (
    Number(scale?.tensor?.elements?.[0]) === quantization.scale && Number(zeroPoint?.tensor?.elements?.[0] ?? 0) === quantization.zeroPoint
  )
}

function dequantizedConstant(node: Node, translator: Translator): boolean {
  const [codes, scale, zeroPoint] = [0, 1, 2].map((i) => node.input(i)?.tensor)
  if (!codes || !scale) return false
  const axis = node.int('axis', 1)
  if (codes.shape.length === 2 && scale.shape.length <= 1) {
    const isSigned = codes.dtype === 'int8' && (!zeroPoint || isAll(zeroPoint, 0))
    const isShifted = codes.dtype === 'uint8' && zeroPoint !== null && zeroPoint !== undefined && isAll(zeroPoint, 128)
    if (!isSigned && !isShifted) return false
    const signed = isSigned ? codes : shifted(codes)
    return translator.mean(node.output, {
      kind: 'dequantized',
      weight: { kind: 'axis', codes: signed, scale, axis: scale.size === 1 ? 1 : (axis + 2) % 2 },
    })
  }
  return blocksOf(node, codes, scale, zeroPoint ?? undefined, translator)
}

/** Codes [inputs, outputs] or [blocks, block, outputs] with a scale for each block of inputs. */
function blocksOf(node: Node, codes: Tensor, scale: Tensor, zeroPoint: Tensor | undefined, translator: Translator): boolean {
  const bits = { int4: 4, uint4: 4, int8: 8, uint8: 8 }[codes.dtype as string] as 4 | 8 | undefined
  const outputs = codes.shape.at(-1)!
  const inputs = codes.size / outputs
  const block = node.int('block_size', 0) || (codes.shape.length === 3 ? codes.shape[1] : 0)
  const isByInput = node.int('axis', 1) === codes.shape.length - 2
  const isByOutput = codes.shape.length === 2 && (node.int('axis', 1) + 2) % 2 === 1
  if (bits && block && isByOutput && scale.size * block === codes.size)
    return translator.mean(node.output, { kind: 'constant', tensor: new BlockTensor(codes, scale, zeroPoint, block) })
  if (!bits || !block || !isByInput || scale.size * block !== inputs * outputs) return false
  const offset = codes.dtype.startsWith('u') ? 0 : 2 ** (bits - 1)
  const [turned, scales] = [byOutput(codes, outputs), byOutput(scale, outputs)]
  const zeroPoints = zeroPoint && (zeroPoint.size === 1 ? zeroPoint : byOutput(zeroPoint, outputs))
  const minimum = new LazyTensor('float32', scales.shape, async () => {
    const [factors, zeros] = [(await scales.read()) as Float32Array, zeroPoints && ((await zeroPoints.read()) as Int8Array)]
    const result = new Float32Array(factors.length)
    const one = zeros?.length === 1 ? zeros[0] : 0
    if (!zeros || zeros.length === 1) for (let i = 0; i < result.length; i++) result[i] = -factors[i] * (offset + one)
    else for (let i = 0; i < result.length; i++) result[i] = -factors[i] * (offset + zeros[i])
    return result
  })
  return translator.mean(node.output, {
    kind: 'dequantized',
    weight: { kind: 'blocks', bits, block, codes: offset ? shifted(turned) : turned, scale: scales, minimum },
  })
}

/** What stands as [..., outputs], by outputs. */
function byOutput(tensor: Tensor, outputs: number): Tensor {
  return transposed(reshaped(tensor, [tensor.size / outputs, outputs]))
}

/** Signed codes as unsigned ones or the other way round: the highest bit turned over. */
function shifted(codes: Tensor): Tensor {
  if (codes.dtype === 'uint8') return new LazyTensor('int8', codes.shape, async () => lowered((await codes.read()) as Uint8Array))
  const bits = codes.dtype === 'int4' ? 4 : 8
  return new LazyTensor(bits === 4 ? 'uint4' : 'uint8', codes.shape, async () => raised((await codes.read()) as Int8Array, bits))
}

function summed(a: Tensor, b: Tensor): Tensor {
  return new LazyTensor('float32', a.shape, async () => {
    const [left, right] = [(await a.read()) as Float32Array, (await b.read()) as Float32Array]
    return left.map((x, i) => x + right[i])
  })
}

function isAll(tensor: Tensor, wanted: number): boolean {
  const elements = tensor.elements as ArrayLike<number> | null
  return elements !== null && Array.from(elements).every((code) => Number(code) === wanted)
}
