import { float, int } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import { producedBy } from '../../ir/rewrite.js'
import { Net } from '../../nn/net.js'
import { elementsOf, isScalar, otherOperand, scalarOf } from '../pattern.js'
import type { RaiseRule } from '../rule.js'

/** The value whose square another is. */
function squareRootOf(value: Value | null): Value | null {
  const power = producedBy(value, 'Pow')
  if (power) return isScalar(power.input(1), 2) ? power.input(0) : null
  const product = producedBy(value, 'Mul')
  return product && product.input(0) === product.input(1) ? product.input(0) : null
}

function isMeanOfRows(node: Node): boolean {
  const axes = elementsOf(node.input(1))
  return node.int('keepdims', 1) === 1 && axes?.length === 1 && (axes[0] === -1 || axes[0] === (node.input(0)?.shape?.length ?? 0) - 1)
}

/** x divided by √(mean + epsilon): the value, and epsilon. */
function normalized(mean: Node, x: Value): { value: Value; epsilon: number } | null {
  const addition = mean.output.users.find((user) => user.type === 'Add')
  const epsilon = scalarOf(otherOperand(addition ?? null, mean.output))
  const root = addition?.output.users.find((user) => user.type === 'Sqrt')
  if (!root || epsilon === undefined) return null
  const quotient = root.output.users.find((user) => user.type === 'Div' && user.input(0) === x && user.input(1) === root.output)
  const inverse = root.output.users.find((user) => user.type === 'Reciprocal')
  const product = inverse?.output.users.find((user) => user.type === 'Mul' && otherOperand(user, inverse.output) === x)
  const end = quotient ?? product
  return end ? { value: end.output, epsilon } : null
}

/** The operator that alone uses a value together with a constant of one number for each channel. */
function withVector(value: Value, type: string): { node: Node; vector: Value } | null {
  const [user, ...more] = value.users
  const vector = user?.type === type && !more.length ? otherOperand(user, value) : null
  return vector?.isConstant && vector.shape?.length === 1 && vector.shape[0] === value.shape?.at(-1) ? { node: user, vector } : null
}

/** x / √(mean(x²) + epsilon) times a gain. */
const rmsNorm: RaiseRule = {
  name: 'rms-norm',
  at: ['ReduceMean'],
  rewrite(node, graph) {
    const x = squareRootOf(node.input(0))
    const found = x && isMeanOfRows(node) ? normalized(node, x) : null
    const scaled = found && withVector(found.value, 'Mul')
    if (!scaled) return false
    const net = new Net(graph, undefined, scaled.node.name)
    const attributes = { axis: int(-1), epsilon: float(found.epsilon) }
    graph.replace(scaled.node, net.op('RMSNormalization', [x, scaled.vector], attributes, { before: scaled.node }))
    return true
  },
}

/** (x - mean(x)) / √(mean of its squares + epsilon), times a gain, plus a bias. */
const layerNorm: RaiseRule = {
  name: 'layer-norm',
  at: ['ReduceMean'],
  rewrite(node, graph) {
    const centred = squareRootOf(node.input(0))
    const subtraction = producedBy(centred, 'Sub')
    const [x, mean] = [subtraction?.input(0), producedBy(subtraction?.input(1) ?? null, 'ReduceMean')]
    if (!centred || !x || mean?.input(0) !== x || !isMeanOfRows(mean) || !isMeanOfRows(node)) return false
    const found = normalized(node, centred)
    const scaled = found && withVector(found.value, 'Mul')
    const shifted = scaled && withVector(scaled.node.output, 'Add')
    if (!shifted) return false
    const net = new Net(graph, undefined, shifted.node.name)
    const attributes = { axis: int(-1), epsilon: float(found.epsilon) }
    const norm = net.op('LayerNormalization', [x, scaled.vector, shifted.vector], attributes, { before: shifted.node })
    graph.replace(shifted.node, norm)
    return true
  },
}

export const normRules: readonly RaiseRule[] = [layerNorm, rmsNorm]
