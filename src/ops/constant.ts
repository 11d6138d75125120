/** Where numbers come from: Constant, ConstantOfShape, Range, EyeLike, and conversions between dtypes. */
import { badInput, unsupported } from '../base/errors.js'
import { addDims, type Dim, divideDims, subtractDims } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { ArrayTensor, type Tensor } from '../ir/tensor.js'
import { type DType, dtypes, isFloat, isInteger, type NDArray, sizeOf } from '../numbers/dtype.js'
import { isMinifloat, type MinifloatOptions, roundToMinifloat } from '../numbers/minifloat.js'
import { decode, encode } from '../numbers/storage.js'
import { dtypeOfCode } from './element-type.js'
import { factsAt, freshDim, type InputFacts, sameFacts, vectorContents } from './facts.js'
import { rangeGradient } from './gradients/order.js'
import { impossible, nothingFlows } from './gradients/rule.js'
import { castGradient } from './gradients/shape.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import { arrayOf, type Entry, filled, integersOf, iterate, range, required, scalarOf } from './support.js'

/** The tensor that a Constant node holds, whichever attribute holds it; null for sparse ones. */
export function constantTensor(node: Node): Tensor | null {
  const [name, attribute] = Object.entries(node.attributes).find(([key]) => key.startsWith('value')) ?? []
  switch (attribute?.kind) {
    case 'tensor':
      return attribute.value
    case 'int':
      return ArrayTensor.of(arrayOf('int64', [], [attribute.value]))
    case 'float':
      return ArrayTensor.of(arrayOf('float32', [], [attribute.value]))
    case 'string':
      return ArrayTensor.of(arrayOf('string', [], [attribute.value]))
    case 'ints':
      return ArrayTensor.of(arrayOf('int64', [attribute.value.length], attribute.value))
    case 'floats':
      return ArrayTensor.of(arrayOf('float32', [attribute.value.length], attribute.value))
    case 'strings':
      return ArrayTensor.of(arrayOf('string', [attribute.value.length], attribute.value))
  }
  if (name || !node.attributes['sparse_value'])
    throw badInput('a Constant needs one of its value attributes', { where: node.name || node.output.name })
  return null
}

/** The elements of a tensor that must lie in memory. */
function inMemory(tensor: Tensor): NDArray {
  if (!tensor.elements)
    throw unsupported('a tensor in an attribute is not in memory', { hint: 'Read it first, or make it a constant of the graph.' })
  return { dtype: tensor.dtype, shape: tensor.shape, data: tensor.elements }
}

const constant = operator({
  name: 'Constant',
  since: 13,
  gradient: nothingFlows,
  infer(node) {
    const tensor = constantTensor(node)
    const small = tensor?.elements && isInteger(tensor.dtype) && tensor.size <= 64
    return [{ dtype: tensor?.dtype ?? null, shape: tensor?.shape ?? null, contents: small ? integersOf(inMemory(tensor)) : null }]
  },
  evaluate(node) {
    const tensor = constantTensor(node)
    if (!tensor) throw unsupported('sparse constants are not understood', { where: node.name || node.output.name })
    return [inMemory(tensor)]
  },
})

const constantOfShape = operator({
  name: 'ConstantOfShape',
  since: 9,
  gradient: nothingFlows,
  infer(node, inputs) {
    const value = node.tensor('value')
    const dtype = value?.dtype ?? 'float32'
    const shape = vectorContents(inputs, 0)
    const rank = factsAt(inputs, 0).shape?.[0]
    if (!shape) return [{ dtype, shape: typeof rank === 'number' ? range(rank).map((axis) => freshDim(node, axis)) : null }]
    const [length] = shape
    const known = shape.length === 1 && typeof length === 'number' && length <= 64 && isInteger(dtype) && (!value || value.elements)
    return [{ dtype, shape, contents: known ? range(length, () => (value ? scalarOf(inMemory(value)) : 0)) : null }]
  },
  evaluate(node, inputs) {
    const value = node.tensor('value')
    const shape = integersOf(required(inputs, 0))
    return [value ? filled(value.dtype, shape, (inMemory(value).data as ArrayLike<Entry>)[0]) : filled('float32', shape, 0)]
  },
})

function inferRange(node: Node, inputs: InputFacts): ValueFacts[] {
  const dtype = factsAt(inputs, 0).dtype
  const [start, limit, delta] = [0, 1, 2].map((i) => inputs[i]?.contents?.[0])
  if (start === undefined || limit === undefined || typeof delta !== 'number') return [{ dtype, shape: [freshDim(node, 0)] }]
  const span = subtractDims(limit, start)
  if (typeof span === 'string') return [{ dtype, shape: [delta === 1 ? span : divideDims(addDims(span, delta - 1), delta)] }]
  const count = Math.max(0, Math.ceil(span / delta))
  return [{ dtype, shape: [count], contents: count <= 64 && typeof start === 'number' ? range(count, (i) => start + i * delta) : null }]
}

const rangeOperator = operator({
  name: 'Range',
  since: 11,
  gradient: rangeGradient,
  infer: inferRange,
  evaluate(_, inputs) {
    const [first, limit, step] = [0, 1, 2].map((i) => required(inputs, i))
    const [start, end, delta] = [first, limit, step].map(scalarOf)
    const count = Math.max(0, Math.ceil((end - start) / delta))
    return [
      arrayOf(
        first.dtype,
        [count],
        range(count, (i) => start + i * delta),
      ),
    ]
  },
})

const eyeLike = operator({
  name: 'EyeLike',
  since: 9,
  gradient: nothingFlows,
  infer: (node, inputs) => sameFacts(inputs, namedDtype(node, 'dtype') ?? factsAt(inputs, 0).dtype),
  evaluate(node, inputs) {
    const input = required(inputs, 0)
    const diagonal = node.int('k', 0)
    const values = Array.from(iterate(input.shape), ([row, column]) => Number(column - row === diagonal))
    return [arrayOf(namedDtype(node, 'dtype') ?? input.dtype, input.shape, values)]
  },
})

/** The dtype that an attribute names by its number, if it is there. */
function namedDtype(node: Node, attribute: string): DType | undefined {
  const code = node.int(attribute)
  return code === undefined ? undefined : dtypeOfCode(code)
}

/** The dtype that the attribute `to` names. Throws `bad-input` when it is absent or names none. */
function target(node: Node): DType {
  const dtype = namedDtype(node, 'to')
  if (!dtype) throw badInput('the attribute to is missing', { where: node.name || node.output.name })
  return dtype
}

/**
 * Elements converted to another dtype as Cast does it: floats are truncated towards zero for integers, integers wrap
 * around, narrow floats round half to even.
 *
 * @param options what float8 dtypes do beyond their range
 * @example
 * castArray(arrayOf('int16', [1], [200]), 'int8').data // Int8Array [-56]
 */
export function castArray(array: NDArray, dtype: DType, options: MinifloatOptions = {}): NDArray {
  if (array.dtype === dtype) return array
  const entries = array.data as ArrayLike<Entry>
  if (dtype === 'string')
    return arrayOf(
      dtype,
      array.shape,
      Array.from(entries, (x) => textOf(x, array.dtype)),
    )
  const source = array.dtype === 'string' ? Array.from(array.data as string[], numberOf) : entries
  const wide = arrayOf(dtype, array.shape, source)
  return isMinifloat(dtype) ? { ...wide, data: roundToMinifloat(dtype, wide.data as Float32Array, options) } : wide
}

/** The shortest text that reads back as the same number of the dtype. */
function textOf(x: Entry, dtype: DType): string {
  if (typeof x !== 'number' || !isFloat(dtype)) return String(x)
  if (!Number.isFinite(x)) return Number.isNaN(x) ? 'NaN' : x > 0 ? 'INF' : '-INF'
  if (dtype === 'float64') return String(x)
  for (let digits = 1; digits <= 9; digits++) {
    const text = x.toPrecision(digits)
    if (castArray(arrayOf('float64', [], [Number(text)]), dtype).data[0] === x) return String(Number(text))
  }
  return String(x)
}

function numberOf(text: string): number {
  const infinite = /^([+-]?)inf(inity)?$/i.exec(text.trim())
  return infinite ? (infinite[1] === '-' ? -Infinity : Infinity) : Number(text)
}

function castOptions(node: Node): MinifloatOptions {
  return { saturate: Boolean(node.int('saturate', 1)), roundMode: node.string('round_mode', 'up') as MinifloatOptions['roundMode'] }
}

/** Elements of a shape computation after a cast; those of other dtypes than numbers are not followed. */
function castContents(inputs: InputFacts, dtype: DType | null): readonly Dim[] | null {
  const contents = factsAt(inputs, 0).contents
  if (!contents || !dtype || !(isFloat(dtype) || isInteger(dtype))) return null
  return isInteger(dtype) ? contents.map((x) => (typeof x === 'number' ? Math.trunc(x) : x)) : contents
}

const cast = operator({
  name: 'Cast',
  since: 19,
  gradient: castGradient,
  infer(node, inputs) {
    const dtype = target(node)
    return [{ ...sameFacts(inputs, dtype)[0], contents: castContents(inputs, dtype) }]
  },
  evaluate: (node, inputs) => [castArray(required(inputs, 0), target(node), castOptions(node))],
})

const castLike = operator({
  name: 'CastLike',
  since: 19,
  gradient: castGradient,
  infer(_, inputs) {
    const { dtype } = factsAt(inputs, 1)
    return [{ ...sameFacts(inputs, dtype)[0], contents: castContents(inputs, dtype) }]
  },
  evaluate: (node, inputs) => [castArray(required(inputs, 0), required(inputs, 1).dtype, castOptions(node))],
})

const bitCast = operator({
  name: 'BitCast',
  since: 26,
  gradient: impossible('the number that bits stand for in another dtype does not change smoothly with them'),
  infer: (node, inputs) => sameFacts(inputs, target(node)),
  evaluate(node, inputs) {
    const input = required(inputs, 0)
    const dtype = target(node)
    if (dtypes[dtype].bits !== dtypes[input.dtype].bits) throw badInput(`${input.dtype} and ${dtype} have different widths`)
    return [{ dtype, shape: input.shape, data: decode(dtype, encode(input.dtype, input.data), sizeOf(input.shape)) }]
  },
})

/** Constants, ranges, conversions. */
export const constants: readonly Operator[] = [constant, constantOfShape, rangeOperator, eyeLike, cast, castLike, bitCast]
