import { int, ints } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Node, Value } from '../../ir/node.js'
import { onlyUser, producedBy } from '../../ir/rewrite.js'
import { maskedScores } from '../../nn/attention-spelling.js'
import { Net } from '../../nn/net.js'
import { elementsOf, operandsOf, scalarOf } from '../pattern.js'
import type { RaiseRule } from '../rule.js'
import { maskOf } from './attention.js'

/** The score of a key that nobody is meant to see lies below this. */
const hiddenBelow = -1e4

/** Rows and columns exchanged in matrices that lie one after the other, [batch * heads, tokens, size]. */
const flattenedTranspose: RaiseRule = {
  name: 'flattened-transpose',
  at: ['Reshape'],
  rewrite(node, graph) {
    const transpose = producedBy(node.input(0), 'Transpose')
    const x = producedBy(transpose?.input(0) ?? null, 'Reshape')?.input(0)
    const [batch, heads, rows, columns] = x?.shape ?? []
    const flat = transpose?.input(0)?.shape
    if (x?.shape?.length !== 4 || transpose?.ints('perm')?.join() !== '0,2,1' || flat?.slice(1).join() !== `${rows},${columns}`)
      return false
    if (node.output.shape?.join() !== [batch, heads, columns, rows].join()) return false
    const net = new Net(graph, undefined, node.name)
    graph.replace(node, net.op('Transpose', [x], { perm: ints([0, 1, 3, 2]) }, { before: node }))
    return true
  },
}

/** A Slice of the last axis: where it begins and ends. */
function lastAxisSlice(value: Value | null): { x: Value; start: number; end: number } | null {
  const node = producedBy(value, 'Slice')
  const x = node?.input(0)
  const [start, end, axis, step] = [1, 2, 3, 4].map((i) => scalarOf(node?.input(i)))
  const size = x?.shape?.at(-1)
  if (!x || start === undefined || end === undefined || typeof size !== 'number' || (step ?? 1) !== 1) return null
  if (axis !== -1 && axis !== x.shape!.length - 1) return null
  const place = (at: number) => Math.min(Math.max(at < 0 ? at + size : at, 0), size)
  return { x, start: place(start), end: place(end) }
}

/** What another value is with its halves exchanged, the second negated: [-second, first]. */
function rotatedHalves(value: Value | null): Value | null {
  const concat = producedBy(value, 'Concat')
  if (concat?.inputs.length !== 2) return null
  const second = lastAxisSlice(producedBy(concat.input(0), 'Neg')?.input(0) ?? null)
  const first = lastAxisSlice(concat.input(1))
  const size = Number(first?.x.shape?.at(-1))
  const halves = first?.start === 0 && first.end === size / 2 && second?.start === size / 2 && second.end === size
  return halves && second.x === first.x ? first.x : null
}

/** The angles [batch, tokens, size / 2] of a table of their cosines or sines, [batch, 1, tokens, size], each twice. */
function anglesOf(table: Value | null, type: 'Cos' | 'Sin'): Value | null {
  const unsqueeze = producedBy(table, 'Unsqueeze')
  const twice = producedBy(producedBy(unsqueeze?.input(0) ?? null, type)?.input(0) ?? null, 'Concat')
  const [a, b] = twice?.inputs ?? []
  return a && a === b && a.shape?.length === 3 && twice!.inputs.length === 2 && elementsOf(unsqueeze!.input(1))?.join() === '1' ? a : null
}

/** x cos + [-second half, first half] sin, on heads [batch, heads, tokens, size]. */
const rotary: RaiseRule = {
  name: 'rotary',
  at: ['Add'],
  rewrite(node, graph) {
    for (const [plain, turned] of operandsOf(node.output, 'Add'))
      for (const [x, cosines] of operandsOf(plain, 'Mul'))
        for (const [rotated, sines] of operandsOf(turned, 'Mul')) {
          const angles = anglesOf(cosines, 'Cos')
          if (!angles || rotatedHalves(rotated) !== x || anglesOf(sines, 'Sin') !== angles) continue
          return replaceRotary(node, x, angles, graph)
        }
    return false
  },
}

function replaceRotary(node: Node, x: Value, angles: Value, graph: Graph): boolean {
  const transpose = producedBy(x, 'Transpose')
  const [rows, heads] = [transpose?.input(0), x.shape?.[1]]
  if (!rows || transpose?.ints('perm')?.join() !== '0,2,1,3' || typeof heads !== 'number') return false
  const net = new Net(graph, undefined, node.name)
  const place = { before: node }
  const batch = net.op('Shape', [x], { start: int(0), end: int(1) }, place)
  const shape = net.op('Concat', [batch, net.ints([1, 1])], { axis: int(0) }, place)
  const each = angles.shape![0] === x.shape![0] ? angles : net.op('Expand', [angles, shape], {}, place)
  const tables = (['Cos', 'Sin'] as const).map((type) => net.op(type, [each], {}, place))
  const size = Number(x.shape!.at(-1))
  const whole = producedBy(rows, 'Reshape')?.input(0)
  const flat = whole?.shape?.length === 3 ? whole : net.op('Reshape', [rows, net.ints([0, 0, heads * size])], {}, place)
  const rotated = net.op('RotaryEmbedding', [flat, ...tables], { num_heads: int(heads) }, place)
  const split = net.op('Reshape', [rotated, net.ints([0, 0, heads, size])], {}, place)
  graph.replace(node, net.op('Transpose', [split], { perm: ints([0, 2, 1, 3]) }, place))
  return true
}

/** Scores are scaled after the product, once, by a factor. */
const scaledScores: RaiseRule = {
  name: 'scaled-scores',
  at: ['Softmax'],
  rewrite(node, graph) {
    const scored = productBehind(node.input(0))
    if (!scored) return false
    const { product, division } = scored
    const sides = product.inputs.map((side) => scaledSide(side!))
    const factor = (division ? 1 / scalarOf(division.input(1))! : 1) * sides.reduce((all, side) => all * side.factor, 1)
    if (!division && sides.every((side) => side.factor === 1)) return false
    const end = division ?? product
    const net = new Net(graph, undefined, product.name)
    const place = { before: end }
    const plain = net.op(
      'MatMul',
      sides.map((side) => side.value),
      {},
      place,
    )
    graph.replace(end, factor === 1 ? plain : net.op('Mul', [plain, net.float(Math.fround(factor))], {}, place))
    return true
  },
}

/** The product of queries and keys behind an addition of a mask or a selection by one, and its division by a number. */
function productBehind(value: Value | null): { product: Node; division: Node | null } | null {
  const node = value?.producer
  if (node?.type === 'Add') return productBehind(node.input(0)) ?? productBehind(node.input(1))
  if (node?.type === 'Where') return productBehind(node.input(1)) ?? productBehind(node.input(2))
  if (value?.dtype !== 'float32' || value.shape?.length !== 4) return null
  const division = node?.type === 'Div' && scalarOf(node.input(1)) ? node : null
  const product = producedBy(division ? division.input(0) : value, 'MatMul')
  return product && (!division || onlyUser(product.output, 'Div')) ? { product, division } : null
}

function scaledSide(value: Value): { value: Value; factor: number } {
  const node = onlyUser(value, 'MatMul') && value.producer
  const quotient = node?.type === 'Div' ? scalarOf(node.input(1)) : undefined
  if (node && quotient) return { value: node.input(0)!, factor: 1 / quotient }
  const found = node && operandsOf(value, 'Mul').find(([, factor]) => scalarOf(factor) !== undefined)
  return found ? { value: found[0], factor: scalarOf(found[1])! } : { value, factor: 1 }
}

/**
 * What is added to scores, or put in their place, where it comes from a padding mask [batch, keys] alone: the mask itself
 * selects.
 */
const paddingBias: RaiseRule = {
  name: 'padding-bias',
  at: ['Softmax'],
  rewrite(node, graph, context) {
    const masked = node.input(0)!.producer
    if (!masked || !onlyUser(masked.output, 'Softmax')) return false
    for (const { scores, mask, visible, hidden } of maskings(masked)) {
      const padding = paddingBehind(mask)
      if (!padding || !visible(numberAt(mask, padding, 1)) || !hidden(numberAt(mask, padding, 0))) continue
      const net = new Net(graph, undefined, masked.name)
      const inputs = [maskOf(padding, masked, graph, context), scores, net.float(maskedScores.float32)]
      graph.replace(masked, net.op('Where', inputs, {}, { before: masked }))
      return true
    }
    return false
  },
}

/** A way to hide scores by a mask, and what the mask's values mean. */
interface Masking {
  readonly scores: Value
  readonly mask: Value
  visible(value: number | undefined): boolean
  hidden(value: number | undefined): boolean
}

function maskings(node: Node): Masking[] {
  const isLow = (value: number | undefined) => value !== undefined && value < hiddenBelow
  if (node.type === 'Add')
    return operandsOf(node.output, 'Add').map(([scores, mask]) => ({ scores, mask, visible: (value) => value === 0, hidden: isLow }))
  const [mask, filled, scores] = node.inputs
  if (node.type !== 'Where' || !mask || !scores || !isLow(scalarOf(filled))) return []
  return [{ scores, mask, visible: (value) => value === 0, hidden: (value) => value === 1 }]
}

const shaping = new Set(['Unsqueeze', 'Expand', 'Reshape', 'Cast', 'Identity'])

/** The padding mask [batch, keys] that a value [batch, any, any, keys] is computed from, element by element. */
function paddingBehind(mask: Value): Value | null {
  const [batch, keys] = [mask.shape?.[0], mask.shape?.[3]]
  const found = new Set<Value>()
  const visit = (value: Value): void => {
    const node = value.producer
    const inside = value.shape?.at(-1) === keys && value.shape?.[0] === batch
    if (value.isConstant || found.has(value)) return
    if (node && inside && shaping.has(node.type) && !isPadding(value)) visit(node.input(0)!)
    else if (node && inside && node.type in arithmetic) for (const input of node.inputs) visit(input!)
    else found.add(value)
  }
  if (mask.shape?.length === 4) visit(mask)
  const [padding, ...more] = found
  return padding && !more.length && isPadding(padding) && padding.shape?.join() === [batch, keys].join() ? padding : null
}

/** An input of the graph that may hold the ones and zeros of a padding mask. */
function isPadding(value: Value): boolean {
  return value.shape?.length === 2 && value.dtype === 'int64' && value.producer === null
}

const arithmetic: Readonly<Record<string, (...values: number[]) => number>> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Where: (condition, a, b) => (condition ? a : b),
  Equal: (a, b) => Number(a === b),
  Not: (a) => Number(!a),
}

/** What a value is where the mask that it comes from is 0 or 1. */
function numberAt(value: Value, padding: Value, bit: 0 | 1): number | undefined {
  if (value === padding) return bit
  if (value.isConstant) return scalarOf(value)
  const node = value.producer!
  if (node.type === 'Cast' && value.dtype === 'bool') return Number(numberAt(node.input(0)!, padding, bit) !== 0)
  if (shaping.has(node.type)) return numberAt(node.input(0)!, padding, bit)
  const operands = node.inputs.map((input) => numberAt(input!, padding, bit))
  return operands.includes(undefined) ? undefined : arithmetic[node.type](...(operands as number[]))
}

/** Scores that are hidden by one mask, and then by another: by both at once. */
const twoMasks: RaiseRule = {
  name: 'two-masks',
  at: ['Softmax'],
  rewrite(node, graph) {
    const isLow = (value: Value | null) => (scalarOf(value) ?? 0) < hiddenBelow
    for (const [inner, bias] of operandsOf(node.input(0), 'Add')) {
      const [first, second] = [producedBy(inner, 'Where'), producedBy(bias, 'Where')]
      if (!first || !second || scalarOf(second.input(1)) !== 0 || !isLow(first.input(2)) || !isLow(second.input(2))) continue
      const sum = node.input(0)!.producer!
      const net = new Net(graph, undefined, sum.name)
      const place = { before: sum }
      const both = net.op('And', [first.input(0), second.input(0)], {}, place)
      node.setInput(0, net.op('Where', [both, first.input(1), first.input(2)], {}, place))
      return true
    }
    return false
  },
}

/** Probabilities cannot be NaN where what is added to the scores is finite; exporters replace NaN by zeros all the same. */
const finiteProbabilities: RaiseRule = {
  name: 'finite-probabilities',
  at: ['IsNaN'],
  rewrite(node, graph) {
    const softmax = producedBy(node.input(0), 'Softmax')
    const guard = onlyUser(node.output, 'Where')
    if (!softmax || guard?.input(2) !== softmax.output || !isFiniteScore(softmax.input(0))) return false
    graph.replace(guard, softmax.output)
    return true
  },
}

/** A product with a finite choice by a mask added to it. */
function isFiniteScore(scores: Value | null): boolean {
  const select = producedBy(scores, 'Where')
  if (select) return Number.isFinite(scalarOf(select.input(2)) ?? Number.NaN)
  return operandsOf(scores, 'Add').some(([, bias]) => {
    const choice = producedBy(bias, 'Where')
    return [1, 2].every((i) => Number.isFinite(scalarOf(choice?.input(i)) ?? Number.NaN))
  })
}

export const decomposedAttentionRules: readonly RaiseRule[] = [
  flattenedTranspose,
  rotary,
  finiteProbabilities,
  scaledScores,
  paddingBias,
  twoMasks,
]
