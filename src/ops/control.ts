/** Operators that run graphs: If, Loop, Scan. */
import { badInput, unsupported } from '../base/errors.js'
import { graph as graphAttribute, int } from '../ir/attribute.js'
import type { Dim } from '../ir/dimension.js'
import { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import type { NDArray } from '../numbers/dtype.js'
import { factsAt, freshDim, type InputFacts } from './facts.js'
import { impossible } from './gradients/rule.js'
import { type Operator, operator, type RunGraph, type ValueFacts } from './record.js'
import { concatenate } from './shape.js'
import { arrayOf, normalizeAxis, pickAlong, range, required, reshaped, scalarOf } from './support.js'

function bodyOf(node: Node, attribute: string): Graph {
  const held = node.attributes[attribute]
  if (held?.kind !== 'graph') throw badInput(`${node.type} needs a graph in ${attribute}`, { where: node.name || node.output.name })
  return held.value
}

/** What is true of all of several values; dimensions that differ become symbols of the node's output. */
function common(node: Node, output: number, values: readonly ValueFacts[]): ValueFacts {
  const [first, ...others] = values
  const dtype = values.find((value) => value.dtype)?.dtype ?? null
  const same = others.every((other) => other.shape && other.shape.length === first.shape?.length)
  if (!first.shape || !same) return { dtype, shape: null }
  const agree = (dim: Dim, axis: number) => others.every((other) => other.shape![axis] === dim)
  return { dtype, shape: first.shape.map((dim, axis) => (agree(dim, axis) ? dim : freshDim(node, axis, output))) }
}

const conditional = operator({
  name: 'If',
  since: 11,
  gradient: impossible('what its branches do with values from outside is not seen by the graph around it, to which gradients are added'),
  infer(node) {
    const [yes, no] = [bodyOf(node, 'then_branch'), bodyOf(node, 'else_branch')]
    return node.outputs.map((_, i) => common(node, i, [yes.outputs[i], no.outputs[i]]))
  },
  evaluate: (node, inputs, run) => run(bodyOf(node, scalarOf(required(inputs, 0)) ? 'then_branch' : 'else_branch'), []),
})

/** Facts of a value that goes round a loop: what holds before, inside (where that is declared) and after a turn. */
function carriedFacts(node: Node, output: number, before: ValueFacts, inside: Value, after: Value): ValueFacts {
  return common(node, output, inside.shape ? [before, inside, after] : [before, after])
}

/** The arrays of all turns joined along a new axis; where there were none, of what the body declares. */
function stacked(arrays: readonly NDArray[], axis: number, declared: Value): NDArray {
  if (!arrays.length) {
    const rest = (declared.shape ?? []).map((dim) => (typeof dim === 'number' ? dim : 0))
    const at = normalizeAxis(axis, rest.length + 1)
    return arrayOf(declared.dtype ?? 'float32', [...rest.slice(0, at), 0, ...rest.slice(at)], [])
  }
  const { shape } = arrays[0]
  const at = normalizeAxis(axis, shape.length + 1)
  const slices = arrays.map((array) => reshaped(array, [...shape.slice(0, at), 1, ...shape.slice(at)]))
  return concatenate(slices, at)
}

function runLoop(node: Node, inputs: readonly (NDArray | null)[], run: RunGraph): NDArray[] {
  const body = bodyOf(node, 'body')
  const limit = inputs[0] ? scalarOf(inputs[0]) : Infinity
  let going: NDArray = inputs[1] ?? arrayOf('bool', [], [1])
  let carried = inputs.slice(2).map((_, i) => required(inputs, i + 2))
  const count = carried.length
  const collected: NDArray[][] = body.outputs.slice(1 + count).map(() => [])
  for (let turn = 0; turn < limit && scalarOf(going); turn++) {
    const results = run(body, [arrayOf('int64', [], [turn]), going, ...carried])
    going = results[0]
    carried = results.slice(1, 1 + count)
    for (let k = 0; k < collected.length; k++) collected[k].push(results[1 + count + k])
  }
  return [...carried, ...collected.map((arrays, k) => stacked(arrays, 0, body.outputs[1 + count + k]))]
}

const loop = operator({
  name: 'Loop',
  since: 11,
  gradient: impossible('what its turns compute is not kept, and how many there are is known only while it runs'),
  inferBodies(_, inputs) {
    const carried = inputs.slice(2).map((facts) => ({ dtype: facts?.dtype ?? null, shape: null }))
    return [[{ dtype: 'int64', shape: [] }, { dtype: 'bool', shape: [] }, ...carried]]
  },
  infer(node, inputs) {
    const body = bodyOf(node, 'body')
    const count = node.inputs.length - 2
    return node.outputs.map((_, i) => {
      const result = body.outputs[1 + i]
      if (i < count) return carriedFacts(node, i, factsAt(inputs, i + 2), body.inputs[i + 2], result)
      return { dtype: result.dtype, shape: result.shape && [freshDim(node, 0, i), ...result.shape] }
    })
  },
  evaluate: runLoop,
})

/** How Scan walks its inputs and joins its outputs. */
function scanLayout(
  node: Node,
  inputCount: number,
): { states: number; axis: (input: number) => number; backwards: (input: number) => boolean } {
  const [axes, directions] = [node.ints('scan_input_axes'), node.ints('scan_input_directions')]
  return {
    states: inputCount - node.int('num_scan_inputs', 0),
    axis: (input) => axes?.[input] ?? 0,
    backwards: (input) => directions?.[input] === 1,
  }
}

/** One index along an axis, without that axis. */
function sliceAt(array: NDArray, axis: number, index: number): NDArray {
  const along = array.shape.map((dim, i) => (i === axis ? [index] : range(dim)))
  return reshaped(
    pickAlong(array, along),
    array.shape.filter((_, i) => i !== axis),
  )
}

function runScan(node: Node, inputs: readonly (NDArray | null)[], run: RunGraph): NDArray[] {
  const body = bodyOf(node, 'body')
  const arrays = inputs.map((_, i) => required(inputs, i))
  const { states, axis, backwards } = scanLayout(node, arrays.length)
  const scanned = arrays.slice(states)
  const axes = scanned.map((array, i) => normalizeAxis(axis(i), array.shape.length))
  const length = scanned.length ? scanned[0].shape[axes[0]] : 0
  let state = arrays.slice(0, states)
  const collected: NDArray[][] = body.outputs.slice(states).map(() => [])
  for (let turn = 0; turn < length; turn++) {
    const elements = scanned.map((array, i) => sliceAt(array, axes[i], backwards(i) ? length - 1 - turn : turn))
    const results = run(body, [...state, ...elements])
    state = results.slice(0, states)
    for (let k = 0; k < collected.length; k++) collected[k].push(results[states + k])
  }
  const [outputAxes, outputDirections] = [node.ints('scan_output_axes'), node.ints('scan_output_directions')]
  const joined = collected.map((turns, k) => {
    const order = outputDirections?.[k] === 1 ? turns.reverse() : turns
    return stacked(order, outputAxes?.[k] ?? 0, body.outputs[states + k])
  })
  return [...state, ...joined]
}

/** States keep their shape; of scanned inputs the body sees one index along the axis. */
function inferScanBody(node: Node, inputs: InputFacts): ValueFacts[][] {
  const { states, axis } = scanLayout(node, inputs.length)
  const facts = inputs.map((_, i) => factsAt(inputs, i))
  const elements = facts
    .slice(states)
    .map(({ dtype, shape }, i) => ({ dtype, shape: shape?.toSpliced(normalizeAxis(axis(i), shape.length), 1) ?? null }))
  return [[...facts.slice(0, states).map(({ dtype, shape }) => ({ dtype, shape })), ...elements]]
}

function inferScan(node: Node, inputs: InputFacts): ValueFacts[] {
  const body = bodyOf(node, 'body')
  const { states, axis } = scanLayout(node, inputs.length)
  const scanned = factsAt(inputs, states).shape
  const length = scanned?.[normalizeAxis(axis(0), scanned.length)]
  const axes = node.ints('scan_output_axes')
  return node.outputs.map((_, i) => {
    const result = body.outputs[i]
    if (i < states) return carriedFacts(node, i, factsAt(inputs, i), body.inputs[i], result)
    if (!result.shape) return { dtype: result.dtype, shape: null }
    const at = normalizeAxis(axes?.[i - states] ?? 0, result.shape.length + 1)
    return { dtype: result.dtype, shape: [...result.shape.slice(0, at), length ?? freshDim(node, at, i), ...result.shape.slice(at)] }
  })
}

/** Before opset 9 Scan worked on batches, axis 0 of everything: that is a Scan over the batch around one over the sequence. */
function scanOverBatch(node: Node, graph: Graph): void {
  if (node.input(0)) throw unsupported('Scan of opset 8 with sequence lengths is not understood', { where: node.name || node.output.name })
  const given = node.inputs.slice(1)
  const outer = new Graph('batch', graph)
  const elements = given.map((value, i) =>
    outer.addInput(outer.uniqueName(`element_${i}`), value?.dtype ?? null, value?.shape?.slice(1) ?? null),
  )
  const directions = node.attributes['directions']
  const inner = outer.add('Scan', elements, {
    outputs: node.outputs.length,
    attributes: {
      body: graphAttribute(bodyOf(node, 'body').clone(outer)),
      num_scan_inputs: int(node.int('num_scan_inputs', 0)),
      ...(directions && { scan_input_directions: directions }),
    },
  })
  outer.outputs.push(...inner.outputs)
  const attributes = { body: graphAttribute(outer), num_scan_inputs: int(given.length) }
  const replacement = graph.add('Scan', given, { before: node, name: node.name, outputs: node.outputs.length, attributes })
  node.outputs.forEach((output, i) => void graph.replaceAllUses(output, replacement.outputs[i]))
  graph.remove(node)
}

const scan = operator({
  name: 'Scan',
  since: 9,
  gradient: impossible('what its turns compute is not kept, and how many there are is known only while it runs'),
  inferBodies: inferScanBody,
  infer: inferScan,
  evaluate: runScan,
  upgrades: [{ below: 9, apply: scanOverBatch }],
})

/** Operators that run graphs. */
export const controls: readonly Operator[] = [conditional, loop, scan]
