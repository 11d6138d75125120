/** Gradients of activation functions and of the softmax family. */
import type { Node, Value } from '../../ir/node.js'
import { normalizeAxis } from '../support.js'
import { alongElements, bell, type Derivative } from './elementwise.js'
import type { GradientBuilder, GradientRule } from './rule.js'
import { add, castLike, divide, multiply, scalar, shapeOf, subtract, sumOver, sumTo, where } from './terms.js'

function compare(g: GradientBuilder, operator: 'Less' | 'Greater', x: Value, bound: number): Value {
  return g.op(operator, [x, scalar(g, bound, x)])
}

/** Slope 1 where x is positive, `slope` elsewhere. */
function rectifier(slope: (g: GradientBuilder, dy: Value, y: Value, node: Node) => Value): Derivative {
  return (g, dy, x, y, node) => g.op('Where', [compare(g, 'Greater', x, 0), dy, slope(g, dy, y, node)])
}

/** s (1 - s) */
function sigmoidSlope(g: GradientBuilder, s: Value): Value {
  return multiply(g, s, subtract(g, scalar(g, 1, s), s))
}

/** d/dx of x sigmoid(alpha x): `s + alpha x s (1 - s)`. */
function swishSlope(g: GradientBuilder, x: Value, alpha: number): Value {
  const s = g.op('Sigmoid', [multiply(g, x, alpha)])
  return add(g, s, multiply(g, multiply(g, x, alpha), sigmoidSlope(g, s)))
}

/** d/dx of x Phi(x): `Phi(x) + x phi(x)`. */
function geluSlope(g: GradientBuilder, x: Value): Value {
  const z = multiply(g, x, Math.SQRT1_2)
  const cumulative = add(g, multiply(g, g.op('Erf', [z]), 0.5), 0.5)
  return add(g, cumulative, multiply(g, multiply(g, x, bell(g, z)), 1 / Math.sqrt(2 * Math.PI)))
}

/** d/dx of `x (1 + tanh(u)) / 2` with u = sqrt(2/pi) (x + 0.044715 x^3). */
function tanhGeluSlope(g: GradientBuilder, x: Value): Value {
  const square = multiply(g, x, x)
  const factor = Math.sqrt(2 / Math.PI)
  const u = multiply(g, x, add(g, multiply(g, square, 0.044715 * factor), factor))
  const t = g.op('Tanh', [u])
  const inner = add(g, multiply(g, square, 3 * 0.044715 * factor), factor)
  const curved = multiply(g, multiply(g, x, inner), subtract(g, scalar(g, 1, x), multiply(g, t, t)))
  return multiply(g, add(g, add(g, t, 1), curved), 0.5)
}

/** With t = tanh(softplus(x)): `t + x (1 - t^2) sigmoid(x)`. */
function mishSlope(g: GradientBuilder, x: Value): Value {
  const t = g.op('Tanh', [g.op('Softplus', [x])])
  const slope = multiply(g, subtract(g, scalar(g, 1, x), multiply(g, t, t)), g.op('Sigmoid', [x]))
  return add(g, t, multiply(g, x, slope))
}

/** HardSwish is x max(0, min(1, x / 6 + 1 / 2)): slope 1 above 3, `x / 3 + 1 / 2` between -3 and 3. */
function hardSwishSlope(g: GradientBuilder, x: Value): Value {
  const middle = where(g, compare(g, 'Greater', x, -3), add(g, multiply(g, x, 1 / 3), 0.5))
  return g.op('Where', [compare(g, 'Less', x, 3), middle, scalar(g, 1, x)])
}

/** Rules of activations of one array, by operator. */
export const activationGradients = {
  Relu: alongElements((g, dy, x) => where(g, compare(g, 'Greater', x, 0), dy)),
  LeakyRelu: alongElements(rectifier((g, dy, _, node) => multiply(g, dy, node.float('alpha', 0.01)))),
  Elu: alongElements(rectifier((g, dy, y, node) => multiply(g, dy, add(g, y, node.float('alpha', 1))))),
  Celu: alongElements(rectifier((g, dy, y, node) => multiply(g, dy, add(g, multiply(g, y, 1 / node.float('alpha', 1)), 1)))),
  Selu: alongElements((g, dy, x, y, node) => {
    const [alpha, gamma] = [node.float('alpha', 1.6732632423543772), node.float('gamma', 1.0507009873554805)]
    return g.op('Where', [compare(g, 'Greater', x, 0), multiply(g, dy, gamma), multiply(g, dy, add(g, y, alpha * gamma))])
  }),
  ThresholdedRelu: alongElements((g, dy, x, _, node) => where(g, compare(g, 'Greater', x, node.float('alpha', 1)), dy)),
  Sigmoid: alongElements((g, dy, _, y) => multiply(g, dy, sigmoidSlope(g, y))),
  HardSigmoid: alongElements((g, dy, _, y, node) => {
    const inside = g.op('And', [compare(g, 'Greater', y, 0), compare(g, 'Less', y, 1)])
    return where(g, inside, multiply(g, dy, node.float('alpha', 0.2)))
  }),
  HardSwish: alongElements((g, dy, x) => multiply(g, dy, hardSwishSlope(g, x))),
  Softplus: alongElements((g, dy, x) => multiply(g, dy, g.op('Sigmoid', [x]))),
  Softsign: alongElements((g, dy, x) => {
    const base = add(g, g.op('Abs', [x]), 1)
    return divide(g, dy, multiply(g, base, base))
  }),
  Tanh: alongElements((g, dy, _, y) => multiply(g, dy, subtract(g, scalar(g, 1, y), multiply(g, y, y)))),
  Gelu: alongElements((g, dy, x, _, node) =>
    multiply(g, dy, node.string('approximate', 'none') === 'tanh' ? tanhGeluSlope(g, x) : geluSlope(g, x)),
  ),
  Swish: alongElements((g, dy, x, _, node) => multiply(g, dy, swishSlope(g, x, node.float('alpha', 1)))),
  Mish: alongElements((g, dy, x) => multiply(g, dy, mishSlope(g, x))),
  Shrink: alongElements((g, dy, x, _, node) => where(g, compare(g, 'Greater', g.op('Abs', [x]), node.float('lambd', 0.5)), dy)),
} satisfies Record<string, GradientRule>

export const quickGeluGradient = alongElements((g, dy, x, _, node) => multiply(g, dy, swishSlope(g, x, node.float('alpha', 1.702))))

export const pReluGradient: GradientRule = (node, [dy], g) => {
  const [x, slope] = [node.inputs[0]!, node.inputs[1]!]
  const below = compare(g, 'Less', x, 0)
  return [g.op('Where', [below, multiply(g, dy!, slope), dy!]), sumTo(g, where(g, below, multiply(g, dy!, x)), slope)]
}

export const swiGluGradient: GradientRule = (node, [dy], g) => {
  const [gate, linear] = [node.inputs[0]!, node.inputs[1]!]
  const alpha = node.float('alpha', 1)
  const active = multiply(g, gate, g.op('Sigmoid', [multiply(g, gate, alpha)]))
  return [multiply(g, multiply(g, dy!, linear), swishSlope(g, gate, alpha)), multiply(g, dy!, active)]
}

/** What was kept and scaled passes its gradient on, scaled alike; the kept share is known only from the mask that was drawn. */
export const dropoutGradient: GradientRule = (node, [dy], g) => {
  const [x, ratio, training] = [node.inputs[0]!, node.input(1), node.input(2)]
  if (!training) return [dy]
  const mask = castLike(g, g.output(node, 1), x)
  const kept = subtract(g, scalar(g, 1, x), ratio ? castLike(g, ratio, x) : scalar(g, 0.5, x))
  return [g.op('Where', [training, divide(g, multiply(g, dy!, mask), kept), dy!])]
}

function axisOf(node: Node): number {
  return normalizeAxis(node.int('axis', -1), shapeOf(node.inputs[0]!).length)
}

/** y (dy - sum(y dy)) */
export const softmaxGradient: GradientRule = (node, [dy], g) => {
  const weighted = multiply(g, dy!, node.output)
  return [subtract(g, weighted, multiply(g, node.output, sumOver(g, weighted, [axisOf(node)])))]
}

/** dy - exp(y) sum(dy) */
export const logSoftmaxGradient: GradientRule = (node, [dy], g) => [
  subtract(g, dy!, multiply(g, g.op('Exp', [node.output]), sumOver(g, dy!, [axisOf(node)]))),
]
