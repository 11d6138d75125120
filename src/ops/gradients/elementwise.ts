/** Gradients of arithmetic and elementary functions: `f'(x) dy`, summed over what was broadcast. */
import type { Node, Value } from '../../ir/node.js'
import { numbersOf } from '../../numbers/dtype.js'
import type { GradientBuilder, GradientRule } from './rule.js'
import { add, castLike, divide, multiply, negate, scalar, subtract, sumTo, where } from './terms.js'

/** d(loss)/dx of a function of one array, from dy, x and y. */
export type Derivative = (g: GradientBuilder, dy: Value, x: Value, y: Value, node: Node) => Value

/** The rule of a function of one array. */
export function alongElements(derivative: Derivative): GradientRule {
  return (node, [dy], g) => [derivative(g, dy!, node.inputs[0]!, node.output, node)]
}

function square(g: GradientBuilder, x: Value): Value {
  return multiply(g, x, x)
}

function onePlus(g: GradientBuilder, x: Value): Value {
  return add(g, x, 1)
}

function oneMinus(g: GradientBuilder, x: Value): Value {
  return subtract(g, scalar(g, 1, x), x)
}

function root(g: GradientBuilder, x: Value): Value {
  return g.op('Sqrt', [x])
}

/** exp(-x^2) */
export function bell(g: GradientBuilder, x: Value): Value {
  return g.op('Exp', [negate(g, square(g, x))])
}

/** Rules of functions of one array, by operator. */
export const unaryGradients = {
  Abs: alongElements((g, dy, x) => multiply(g, dy, g.op('Sign', [x]))),
  Neg: alongElements((g, dy) => negate(g, dy)),
  Reciprocal: alongElements((g, dy, _, y) => negate(g, multiply(g, dy, square(g, y)))),
  Sqrt: alongElements((g, dy, _, y) => divide(g, multiply(g, dy, 0.5), y)),
  Exp: alongElements((g, dy, _, y) => multiply(g, dy, y)),
  Log: alongElements((g, dy, x) => divide(g, dy, x)),
  Erf: alongElements((g, dy, x) => multiply(g, multiply(g, dy, bell(g, x)), 2 / Math.sqrt(Math.PI))),
  Sin: alongElements((g, dy, x) => multiply(g, dy, g.op('Cos', [x]))),
  Cos: alongElements((g, dy, x) => negate(g, multiply(g, dy, g.op('Sin', [x])))),
  Tan: alongElements((g, dy, _, y) => multiply(g, dy, onePlus(g, square(g, y)))),
  Asin: alongElements((g, dy, x) => divide(g, dy, root(g, oneMinus(g, square(g, x))))),
  Acos: alongElements((g, dy, x) => negate(g, divide(g, dy, root(g, oneMinus(g, square(g, x)))))),
  Atan: alongElements((g, dy, x) => divide(g, dy, onePlus(g, square(g, x)))),
  Sinh: alongElements((g, dy, x) => multiply(g, dy, g.op('Cosh', [x]))),
  Cosh: alongElements((g, dy, x) => multiply(g, dy, g.op('Sinh', [x]))),
  Asinh: alongElements((g, dy, x) => divide(g, dy, root(g, onePlus(g, square(g, x))))),
  Acosh: alongElements((g, dy, x) => divide(g, dy, root(g, subtract(g, square(g, x), 1)))),
  Atanh: alongElements((g, dy, x) => divide(g, dy, oneMinus(g, square(g, x)))),
} satisfies Record<string, GradientRule>

/** The rule of a function of two broadcast arrays, from d(loss)/d(each) in the shape of the output. */
function ofTwo(each: (g: GradientBuilder, dy: Value, a: Value, b: Value, node: Node) => readonly [Value, Value]): GradientRule {
  return (node, [dy], g) => {
    const [a, b] = [node.inputs[0]!, node.inputs[1]!]
    const [da, db] = each(g, dy!, a, b, node)
    return [sumTo(g, da, a), sumTo(g, db, b)]
  }
}

export const addGradient = ofTwo((_, dy) => [dy, dy])
export const subtractGradient = ofTwo((g, dy) => [dy, negate(g, dy)])
export const multiplyGradient = ofTwo((g, dy, a, b) => [multiply(g, dy, b), multiply(g, dy, a)])
export const divideGradient = ofTwo((g, dy, _, b, node) => {
  const da = divide(g, dy, b)
  return [da, negate(g, multiply(g, da, node.output))]
})

/** `a mod b` is `a - b k` with an integer k that does not change. */
export const moduloGradient = ofTwo((g, dy, a, b, node) => {
  const k = divide(g, subtract(g, a, node.output), b)
  return [dy, negate(g, multiply(g, dy, g.op('Round', [k])))]
})

/** Bases of zero and less have no derivative by the exponent: zero is given. */
export const powerGradient = ofTwo((g, dy, base, exponent, node) => {
  const power = castLike(g, exponent, base)
  const constant = exponent.tensor?.size === 1 && exponent.tensor.elements ? numbersOf({ data: exponent.tensor.elements })[0] : null
  const lower = constant === 2 ? base : g.op('Pow', [base, constant === null ? subtract(g, power, 1) : scalar(g, constant - 1, base)])
  const logarithm = g.op('Log', [g.op('Where', [positive(g, base), base, scalar(g, 1, base)])])
  return [
    multiply(g, dy, multiply(g, lower, constant ?? power)),
    castLike(g, multiply(g, dy, multiply(g, node.output, logarithm)), exponent),
  ]
})

function positive(g: GradientBuilder, x: Value): Value {
  return g.op('Greater', [x, scalar(g, 0, x)])
}

export const sumGradient: GradientRule = (node, [dy], g) => node.inputs.map((input) => sumTo(g, dy!, input!))

export const meanGradient: GradientRule = (node, [dy], g) => {
  const share = divide(g, dy!, node.inputs.length)
  return node.inputs.map((input) => sumTo(g, share, input!))
}

/** Of Max and Min: arrays that share the extreme share its gradient. */
export const extremeGradient: GradientRule = (node, [dy], g) => {
  const chosen = node.inputs.map((input) => castLike(g, g.op('Equal', [input, node.output]), dy!))
  const share = divide(g, dy!, chosen.length > 1 ? g.op('Sum', chosen) : chosen[0])
  return node.inputs.map((input, i) => sumTo(g, multiply(g, share, chosen[i]), input!))
}

export const clipGradient: GradientRule = (node, [dy], g) => {
  const [x, low, high] = [node.inputs[0]!, node.input(1), node.input(2)]
  return [
    where(g, g.op('Equal', [x, node.output]), dy!),
    low && sumTo(g, where(g, g.op('Less', [x, low]), dy!), low),
    high && sumTo(g, where(g, g.op('Greater', [x, high]), dy!), high),
  ]
}

export const whereGradient: GradientRule = (node, [dy], g) => {
  const [condition, a, b] = [node.inputs[0]!, node.inputs[1]!, node.inputs[2]!]
  return [null, sumTo(g, where(g, condition, dy!), a), sumTo(g, g.op('Where', [condition, scalar(g, 0, dy!), dy!]), b)]
}
