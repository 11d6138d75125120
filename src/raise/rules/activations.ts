import { float, string } from '../../ir/attribute.js'
import type { Value } from '../../ir/node.js'
import { producedBy } from '../../ir/rewrite.js'
import { Net } from '../../nn/net.js'
import { besideScalar, isScalar, operandsOf, otherOperand, scalarOf } from '../pattern.js'
import type { RaiseRule } from '../rule.js'

/** Half of x times a gate, multiplied in any order: the value that ends it, from the gate 1 + g. */
function halfOfProduct(gate: Value, x: Value): Value | null {
  for (const first of gate.users) {
    const factor = first.type === 'Mul' ? otherOperand(first, gate) : null
    if (!factor) continue
    if (besideScalar(factor, 'Mul', 0.5) === x) return first.output
    const wanted = factor === x ? 0.5 : isScalar(factor, 0.5) ? x : null
    for (const second of first.output.users) {
      const other = second.type === 'Mul' ? otherOperand(second, first.output) : null
      if (wanted !== null && (wanted === 0.5 ? isScalar(other, 0.5) : other === wanted)) return second.output
    }
  }
  return null
}

/** What 1 is added to it. */
function onePlus(value: Value): Value | null {
  const addition = value.users.find((user) => user.type === 'Add' && isScalar(otherOperand(user, value), 1))
  return addition?.output ?? null
}

/** x / 2 * (1 + erf(x / √2)). */
const erfGelu: RaiseRule = {
  name: 'erf-gelu',
  at: ['Erf'],
  rewrite(node, graph) {
    const scaled = node.input(0)
    const division = producedBy(scaled, 'Div')
    const x = division && isScalar(division.input(1), Math.SQRT2) ? division.input(0) : besideScalar(scaled, 'Mul', Math.SQRT1_2)
    const gate = onePlus(node.output)
    const end = x && gate && halfOfProduct(gate, x)
    if (!end?.producer) return false
    const net = new Net(graph, undefined, end.producer.name)
    graph.replaceAllUses(end, net.op('Gelu', [x], {}, { before: end.producer }))
    return true
  },
}

/** x / 2 * (1 + tanh(√(2 / π) (x + 0.044715 x³))). */
const expandedTanhGelu: RaiseRule = {
  name: 'expanded-tanh-gelu',
  at: ['Tanh'],
  rewrite(node, graph) {
    const sum = besideScalar(node.input(0) ?? null, 'Mul', Math.sqrt(2 / Math.PI))
    const x = operandsOf(sum, 'Add').find(([x, cubic]) => isCube(besideScalar(cubic, 'Mul', 0.044715), x))?.[0]
    const gate = onePlus(node.output)
    const end = x && gate && halfOfProduct(gate, x)
    if (!x || !end?.producer) return false
    const net = new Net(graph, undefined, end.producer.name)
    graph.replaceAllUses(end, net.op('Gelu', [x], { approximate: string('tanh') }, { before: end.producer }))
    return true
  },
}

function isCube(value: Value | null, x: Value): boolean {
  const power = producedBy(value, 'Pow')
  if (power) return power.input(0) === x && isScalar(power.input(1), 3)
  return operandsOf(value, 'Mul').some(([square, other]) => other === x && operandsOf(square, 'Mul')[0]?.every((each) => each === x))
}

/** x * sigmoid(x), or of a multiple of x. */
const swish: RaiseRule = {
  name: 'swish',
  at: ['Sigmoid'],
  rewrite(node, graph) {
    const inside = node.input(0)!
    const multiple = operandsOf(inside, 'Mul').find(([, factor]) => scalarOf(factor) !== undefined)
    for (const [x, alpha] of [[inside, 1] as const, ...(multiple ? [[multiple[0], scalarOf(multiple[1])!] as const] : [])]) {
      const product = node.output.users.find((user) => user.type === 'Mul' && otherOperand(user, node.output) === x)
      if (!product) continue
      const net = new Net(graph, undefined, product.name)
      graph.replace(product, net.op('Swish', [x], alpha === 1 ? {} : { alpha: float(alpha) }, { before: product }))
      return true
    }
    return false
  },
}

export const activationRules: readonly RaiseRule[] = [erfGelu, expandedTanhGelu, swish]
