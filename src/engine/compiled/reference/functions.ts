import { gelu } from '../../../ops/activation.js'
import type { ActivationFunction, BinaryOperator } from '../plan/steps.js'

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))

export const activationFunctions: Readonly<Record<ActivationFunction, (x: number) => number>> = {
  gelu,
  'gelu-tanh': (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  'quick-gelu': (x) => x * sigmoid(1.702 * x),
  silu: (x) => x * sigmoid(x),
  relu: (x) => Math.max(x, 0),
  tanh: Math.tanh,
  sigmoid,
}

export const binaryOperators: Readonly<Record<BinaryOperator, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  subtract: (a, b) => a - b,
  multiply: (a, b) => a * b,
  divide: (a, b) => a / b,
  maximum: Math.max,
}
