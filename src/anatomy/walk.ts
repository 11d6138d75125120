import type { Node, Value } from '../ir/node.js'

/** Operators that carry a tensor along without mixing its channels with another tensor's; the tensor is input 0. */
const carriers = new Set([
  'Cast',
  'Clip',
  'DequantizeLinear',
  'DynamicQuantizeLinear',
  'Expand',
  'Identity',
  'LayerNormalization',
  'QuantizeLinear',
  'RMSNormalization',
  'Reshape',
  'RotaryEmbedding',
  'Slice',
  'Split',
  'Squeeze',
  'Transpose',
  'Unsqueeze',
])

const activations = new Set(['Gelu', 'Relu', 'Swish', 'Sigmoid', 'Tanh', 'Mish', 'HardSwish', 'Elu', 'LeakyRelu', 'Selu'])

export function isActivation(node: Node): boolean {
  return !node.domain && activations.has(node.operator)
}

export function isNorm(node: Node): boolean {
  return node.type === 'LayerNormalization' || node.type === 'RMSNormalization'
}

export function isCarrier(node: Node): boolean {
  return !node.domain && carriers.has(node.operator)
}

/** The constant at the root of a value that carriers and additions of constants compute from constants alone (a dequantized, transposed weight). */
export function rootConstant(value: Value | null): Value | null {
  let at = value
  while (at && !at.isConstant) at = at.producer && (isCarrier(at.producer) || addsConstant(at.producer)) ? at.producer.input(0) : null
  return at
}

/** The minimums of a weight's blocks are added so. */
function addsConstant(node: Node): boolean {
  return node.type === 'Add' && node.input(1)?.isConstant === true
}

/** The input of an Add or Mul that is not rooted in a constant, where the other is; null when both or neither are. */
export function variableOperand(node: Node): Value | null {
  const [a, b] = [node.input(0), node.input(1)]
  if (!a || !b) return null
  if (rootConstant(b)) return rootConstant(a) ? null : a
  return rootConstant(a) ? b : null
}

/** The Add of two computed values: a residual connection. */
export function isResidual(node: Node): boolean {
  return node.type === 'Add' && !rootConstant(node.input(0)) && !rootConstant(node.input(1))
}

/** The value in front of carriers, of additions of constants and of multiplications by constants. */
export function throughCarriers(value: Value, stop: (value: Value) => boolean): Value {
  let at = value
  while (!stop(at)) {
    const node = at.producer
    if (!node) return at
    const before = isCarrier(node)
      ? node.input(0)
      : node.type === 'Add' || node.type === 'Mul' || node.type === 'Div'
        ? variableOperand(node)
        : null
    if (!before) return at
    at = before
  }
  return at
}

/** All nodes that a value reaches through carriers and operations with constants; the first node that is none of these is the end of a path and included. */
export function reached(value: Value): Node[] {
  const ends: Node[] = []
  const pending = [value]
  const seen = new Set<Value>()
  for (let at = pending.pop(); at; at = pending.pop()) {
    if (seen.has(at)) continue
    seen.add(at)
    for (const { node } of at.uses) {
      const carried = isCarrier(node) || ((node.type === 'Add' || node.type === 'Mul') && variableOperand(node) === at)
      if (carried) pending.push(...node.outputs)
      else ends.push(node)
    }
  }
  return ends
}
