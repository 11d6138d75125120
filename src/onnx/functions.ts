import { badInput, unsupported } from '../base/errors.js'
import type { Attribute, Attributes } from '../ir/attribute.js'
import type { Graph } from '../ir/graph.js'
import { type FunctionDefinition, functionKey, type Model } from '../ir/model.js'
import type { Node, Value } from '../ir/node.js'

/** Functions of functions can grow without end from a small file. */
const mostCalls = 100_000

/**
 * Puts the bodies of the model's functions in the place of their calls, in all graphs, and forgets the functions.
 *
 * @returns how many calls were replaced
 * @throws TinsmithError `bad-input` for functions that call themselves; `unsupported` where a function speaks another
 * version of the standard's operators than its caller
 */
export function inlineFunctions(model: Model): number {
  let replaced = 0
  for (const graph of model.graphs.values()) {
    let rounds = 0
    for (let calls = callsIn(graph, model); calls.length; calls = callsIn(graph, model)) {
      if (++rounds > model.functions.size) throw badInput('a function calls itself', { where: graph.name })
      for (const { node, definition } of calls) {
        inlineCall(node, definition)
        if (++replaced > mostCalls) throw badInput(`there are more than ${mostCalls} calls of functions`, { where: graph.name })
      }
    }
  }
  model.functions.clear()
  return replaced
}

interface Call {
  readonly node: Node
  readonly definition: FunctionDefinition
}

function callsIn(graph: Graph, model: Model): Call[] {
  if (!model.functions.size) return []
  return [...graph.allNodes()].flatMap((node) => {
    const definition = model.functions.get(functionKey(node.domain, node.operator, node.overload))
    return definition ? [{ node, definition }] : []
  })
}

function inlineCall(call: Node, { name, body, defaults }: FunctionDefinition): void {
  const target = call.graph!
  const [inner, outer] = [body.opsets.get(''), target.opsets.get('')]
  if (inner !== undefined && inner !== outer)
    throw unsupported(`the function ${name} is of opset ${inner} and its caller of ${outer}`, { where: call.name })
  const given = { ...defaults, ...call.attributes }
  const map = new Map<Value, Value | null>()
  body.inputs.forEach((input, i) => void map.set(input, call.input(i)))
  for (const constant of body.constants.values()) map.set(constant, target.addConstant(constant.name, constant.tensor!))
  for (const node of body.nodes()) {
    const attributes = bind(node.attributes, given)
    const outputs = node.outputs.map((output) => output.name && target.uniqueName(output.name))
    const inputs = node.inputs.map((input) => (input ? (map.get(input) ?? null) : null))
    const { domain, overload } = node
    const copy = target.add(node.operator, inputs, { domain, overload, name: prefixed(call.name, node.name), outputs, before: call })
    node.outputs.forEach((output, i) => void map.set(output, copy.outputs[i]))
    for (const [key, attribute] of Object.entries(attributes)) copy.setAttribute(key, placed(attribute, target, map, given))
  }
  const results = call.outputs.map(({ name: result, dtype, shape }) => ({ result, dtype, shape }))
  const made = body.outputs.map((output) => map.get(output) ?? null)
  call.outputs.forEach((output, i) => {
    if (!output.name) return
    if (!made[i]) throw badInput(`the function ${name} has no output ${i}`, { where: call.name })
    target.replaceAllUses(output, made[i])
  })
  target.remove(call)
  results.forEach(({ result, dtype, shape }, i) => {
    const value = made[i]
    if (!value || !result || call.inputs.includes(value)) return
    value.dtype ??= dtype
    value.shape ??= shape
    if (value.producer?.graph === target && !target.visible(result)) target.rename(value, result)
  })
}

function prefixed(prefix: string, name: string): string {
  return prefix && name ? `${prefix}/${name}` : name || prefix
}

/** Attributes with the caller's values for references; what the caller leaves out is absent. */
function bind(attributes: Attributes, given: Attributes): Attributes {
  const bound = Object.entries(attributes).flatMap(([name, attribute]): [string, Attribute][] => {
    if (attribute.kind !== 'reference') return [[name, attribute]]
    const value = Object.hasOwn(given, attribute.value) ? given[attribute.value] : undefined
    return value ? [[name, value]] : []
  })
  return Object.fromEntries(bound)
}

/** Graphs inside attributes move to their new surroundings. */
function placed(attribute: Attribute, target: Graph, map: ReadonlyMap<Value, Value | null>, given: Attributes): Attribute {
  if (attribute.kind !== 'graph' && attribute.kind !== 'graphs') return attribute
  const outer = new Map([...map].flatMap(([from, to]): [Value, Value][] => (to ? [[from, to]] : [])))
  const move = (graph: Graph) => {
    const copy = graph.clone(target, outer)
    for (const node of copy.allNodes()) {
      node.inputs.forEach((input, i) => {
        if (input && map.get(input) === null) node.setInput(i, null)
      })
      for (const [name, inner] of Object.entries(node.attributes))
        if (inner.kind === 'reference') node.setAttribute(name, bind({ [name]: inner }, given)[name] ?? null)
    }
    return copy
  }
  return attribute.kind === 'graph' ? { kind: 'graph', value: move(attribute.value) } : { kind: 'graphs', value: attribute.value.map(move) }
}
