import { highestCode, powerCoefficients, squarings, thresholds } from '../../reference/attention-int8.js'
import type { FunctionBuilder, FunctionReference, Local } from '../function.js'
import type { ModuleBuilder } from '../module.js'
import { f32, f32x4, i8x16, i16x8, i32, i32x4, integers, type Value, v128 } from '../values.js'
import { largestLane } from './kernel.js'
import { nearestIntegers } from './quantize.js'
import type { ProductForm } from './tile.js'

/** The score of a key that a query may not see. */
export const hidden = -(2 ** 30)

/** Keys that are worked on together; scores and weights have room for a multiple of it. */
const together = 16

const eightWords = (values: readonly number[]) =>
  [0, 2, 4, 6].map((i) => (values[i % values.length] & 0xffff) | (values[(i + 1) % values.length] << 16))

/**
 * A function (scores, keys, factor, weights) that turns the scores of a query into weights: codes of the form. `keys` is a multiple of 16; the first
 * one's place is too. Gives 1 / the sum of the weights.
 */
export function softmaxOfCodes(module: ModuleBuilder, form: ProductForm): FunctionReference {
  return module.function(`softmax to ${form.name}`, ['i32', 'i32', 'f32', 'i32'], ['f32'], (f) => {
    const [scores, keys, factor, weights] = f.parameters as [Local<'i32'>, Local<'i32'>, Local<'f32'>, Local<'i32'>]
    const at = f.local('i32', scores)
    const end = f.local('i32', i32.add(scores, i32.shl(keys, 2)))
    const [highest, sum] = f.localsOf('v128', 2)
    f.set(highest, integers(hidden))
    f.for(at, end, 4 * together, () => {
      for (let v = 0; v < together / 4; v++) f.set(highest, i32x4.max_s(highest, v128.load(at, 16 * v)))
    })
    const shift = f.local('v128', f32x4.splat(f32.sub(f32.mul(f32.convert_i32_s(largestLane(highest)), factor), 2 ** 15 - 1)))
    const multiplier = f.local('v128', f32x4.splat(factor))
    f.set(sum, integers(0))
    f.set(at, scores)
    f.for(at, end, 4 * together, () => {
      const exponents = (v: number) =>
        nearestIntegers(
          f,
          f32x4.pmax(f.floats(-(2 ** 15)), f32x4.sub(f32x4.mul(f32x4.convert_i32x4_s(v128.load(at, 16 * v)), multiplier), shift)),
        )
      const eights = [0, 2].map((v) => weightsOf(f, i16x8.narrow_i32x4_s(exponents(v), exponents(v + 1))))
      for (const eight of eights) f.set(sum, i32x4.add(sum, i32x4.dot_i16x8_s(eight, f.integers(0x10001))))
      if (form.inputBytes === 1) f.do(v128.store(weights, i8x16.narrow_i16x8_u(eights[0], eights[1])))
      else f.do(...eights.map((eight, i) => v128.store(weights, eight, 16 * i)))
      f.add(weights, together * form.inputBytes)
    })
    const lane = (i: number) => i32x4.extract_lane(sum, i)
    f.return(f32.div(1, f32.convert_i32_s(i32.add(i32.add(lane(0), lane(1)), i32.add(lane(2), lane(3))))))
  })
}

/** Weights of eight keys by their exponents. */
function weightsOf(f: FunctionBuilder, exponents: Value<'v128'>): Local<'v128'> {
  const words = (value: number) => f.integers(...eightWords([value]))
  const product = f.module.features.roundedProduct ? i16x8.relaxed_q15mulr_s : i16x8.q15mulr_sat_s
  const x = f.local('v128', exponents)
  const power = f.local('v128', words(powerCoefficients[powerCoefficients.length - 1]))
  for (const coefficient of powerCoefficients.slice(0, -1).reverse()) f.set(power, i16x8.add(product(power, x), words(coefficient)))
  for (let i = 0; i < squarings; i++) f.set(power, product(power, power))
  f.set(power, product(i16x8.add_sat_s(power, f.integers(...eightWords(thresholds))), words(highestCode.weight)))
  return power
}
