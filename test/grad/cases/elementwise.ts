import { attribute } from '../../../src/ir/index.js'
import { type Cases, call, integersArray, random } from '../differences.js'

/** Numbers away from zero, where many functions have a kink. */
const signed = random([3, 4], 1, { gap: 0.2 })
const positive = random([3, 4], 2, { scale: 0.4, shift: 1 })
const inside = random([3, 4], 3, { scale: 0.7 })
const beyond = random([3, 4], 4, { scale: 0.4, shift: 2 })
const wide = random([3, 4], 5, { scale: 4, gap: 0.1 })

const ofOne = (operator: string, x = signed, attributes = {}, first = false) => call(operator, { x }, { attributes, first })
const a = random([2, 3, 4], 6)
const b = random([3, 1], 7, { gap: 0.5 })
const ofTwo = (operator: string) => call(operator, { a, b }, { symbols: { a: ['batch', 3, 4] } })
const float = attribute.float

export const elementwiseCases: Cases = {
  Abs: ofOne('Abs'),
  Neg: ofOne('Neg'),
  Reciprocal: ofOne('Reciprocal', positive),
  Sqrt: ofOne('Sqrt', positive),
  Exp: ofOne('Exp'),
  Log: ofOne('Log', positive),
  Erf: ofOne('Erf'),
  Sin: ofOne('Sin'),
  Cos: ofOne('Cos'),
  Tan: ofOne('Tan', inside),
  Asin: ofOne('Asin', inside),
  Acos: ofOne('Acos', inside),
  Atan: ofOne('Atan'),
  Sinh: ofOne('Sinh'),
  Cosh: ofOne('Cosh'),
  Asinh: ofOne('Asinh'),
  Acosh: ofOne('Acosh', beyond),
  Atanh: ofOne('Atanh', inside),
  Add: ofTwo('Add'),
  Sub: ofTwo('Sub'),
  Mul: ofTwo('Mul'),
  Div: ofTwo('Div'),
  Mod: call('Mod', { a: random([2, 3], 8, { scale: 3 }), b: random([3], 9, { scale: 0.2, shift: 1.3 }) }),
  'Mod fmod': call(
    'Mod',
    { a: random([2, 3], 8, { scale: 3 }), b: random([3], 9, { scale: 0.2, shift: 1.3 }) },
    { attributes: { fmod: attribute.int(1) } },
  ),
  Pow: call('Pow', { a: random([2, 3, 4], 2, { shift: 2 }), b }),
  'Pow square': call('Pow', { a: signed, fixed: random([], 0, { scale: 0, shift: 2 }) }),
  'Pow integer exponent': call('Pow', { a: signed, n: integersArray([4], [1, 2, 3, 4]) }),
  Sum: call('Sum', { a, b, c: random([4], 8) }),
  Mean: call('Mean', { a, b, c: random([4], 8) }),
  Max: call('Max', { a, b, c: random([4], 8) }),
  Min: call('Min', { a, b, c: random([4], 8) }),
  Clip: call('Clip', { x: wide, low: random([], 1, { scale: 0, shift: -1.5 }), high: random([], 1, { scale: 0, shift: 1.7 }) }),
  'Clip above': call('Clip', { x: wide, none: null, high: random([], 1, { scale: 0, shift: 1.7 }) }),
  Where: call('Where', { c: integersArray([3, 1], [1, 0, 1], 'bool'), a, b: random([4], 8) }),
  Cast: ofOne('Cast', signed, { to: attribute.int(11) }),
  CastLike: call('CastLike', { x: signed, like: random([1], 1) }, { constant: ['like'] }),

  Relu: ofOne('Relu'),
  LeakyRelu: ofOne('LeakyRelu', signed, { alpha: float(0.25) }),
  Elu: ofOne('Elu', signed, { alpha: float(0.5) }),
  Celu: ofOne('Celu', signed, { alpha: float(2) }),
  Selu: ofOne('Selu'),
  ThresholdedRelu: ofOne('ThresholdedRelu', wide, { alpha: float(0.5) }),
  Sigmoid: ofOne('Sigmoid', wide),
  HardSigmoid: ofOne('HardSigmoid', wide),
  HardSwish: ofOne('HardSwish', wide),
  Softplus: ofOne('Softplus', wide),
  Softsign: ofOne('Softsign', wide),
  Tanh: ofOne('Tanh', wide),
  Gelu: ofOne('Gelu', wide),
  'Gelu tanh': ofOne('Gelu', wide, { approximate: attribute.string('tanh') }),
  Swish: ofOne('Swish', wide, { alpha: float(1.5) }),
  Mish: ofOne('Mish', wide),
  Shrink: ofOne('Shrink', wide, { bias: float(0.25) }),
  PRelu: call('PRelu', { x: random([2, 3, 4], 1, { gap: 0.2 }), slope: random([3, 1], 2) }),
  SwiGLU: call('SwiGLU', { gate: signed, linear: inside }),
  Dropout: call(
    'Dropout',
    { x: signed, fixed_ratio: random([], 1, { scale: 0, shift: 0.5 }), fixed_training: integersArray([], [1], 'bool') },
    { attributes: { seed: attribute.int(3) } },
  ),
  'Dropout when not training': call('Dropout', { x: signed }),
  Softmax: ofOne('Softmax', wide),
  'Softmax axis 0': ofOne('Softmax', wide, { axis: attribute.int(0) }),
  LogSoftmax: ofOne('LogSoftmax', wide),
  'com.microsoft.Gelu': call('Gelu', { x: wide }, { domain: 'com.microsoft' }),
  'com.microsoft.QuickGelu': call('QuickGelu', { x: wide }, { domain: 'com.microsoft', attributes: { alpha: float(1.5) } }),
  'com.microsoft.BiasGelu': call('BiasGelu', { x: wide, bias: random([4], 2) }, { domain: 'com.microsoft' }),
  'com.microsoft.FastGelu': call('FastGelu', { x: wide, bias: random([4], 2) }, { domain: 'com.microsoft' }),
  'com.microsoft.FastGelu without bias': call('FastGelu', { x: wide }, { domain: 'com.microsoft' }),
}
