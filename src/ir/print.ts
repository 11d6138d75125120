import { type Elements, isFloat } from '../numbers/dtype.js'
import type { Attribute } from './attribute.js'
import type { Graph } from './graph.js'
import type { Node, Value } from './node.js'
import type { Tensor } from './tensor.js'

/** How many elements of a constant are shown. */
const shown = 6

/** Constants up to this size are shown: axes, shapes, scalars. What is larger may lie on disk or not, and prints alike. */
const small = 64

/**
 * A graph as text, for reading and for comparing: inputs, constants in order of use, nodes in order, outputs.
 *
 * @example
 * printGraph(graph)
 * // main(x: float32[batch, 8]) {
 * //   relu: float32[batch, 8] = Relu(x)
 * //   return relu
 * // }
 */
export function printGraph(graph: Graph, indent = ''): string {
  const inner = `${indent}  `
  const lines = [`${indent}${graph.name}(${graph.inputs.map(printTyped).join(', ')}) {`]
  const printed = new Set<Value>()
  for (const node of graph.nodes()) {
    for (const input of node.inputs)
      if (input?.tensor && graph.constants.get(input.name) === input && !printed.has(input)) {
        printed.add(input)
        lines.push(`${inner}${printConstant(input)}`)
      }
    lines.push(printNode(node, inner))
  }
  lines.push(`${inner}return ${graph.outputs.map((output) => output.name).join(', ')}`, `${indent}}`)
  return lines.join('\n')
}

/** One node as text; graphs inside it follow on lines of their own. */
export function printNode(node: Node, indent = ''): string {
  const outputs = node.outputs.map((output) => (output.name ? printTyped(output) : '_')).join(', ')
  const inputs = node.inputs.map((input) => input?.name ?? '_').join(', ')
  const attributes = Object.keys(node.attributes)
    .sort()
    .map((name) => `${name}=${printAttribute(node.attributes[name], indent)}`)
    .join(', ')
  return `${indent}${outputs} = ${node.type}(${inputs}${attributes ? `; ${attributes}` : ''})`
}

function printTyped(value: Value): string {
  return `${value.name}: ${value.dtype ?? '?'}${value.shape ? `[${value.shape.join(', ')}]` : ''}`
}

function printConstant(value: Value): string {
  return `const ${printTyped(value)} = ${printTensor(value.tensor!)}`
}

function printTensor(tensor: Tensor): string {
  const float = isFloat(tensor.dtype)
  if (!tensor.elements || tensor.size > (float ? 1 : small)) return '<data>'
  const parts = printElements(tensor.elements, float)
  return tensor.shape.length ? `{${parts}}` : parts
}

function printElements(data: Elements, float: boolean): string {
  const parts: string[] = []
  for (let i = 0; i < Math.min(data.length, shown); i++)
    parts.push(
      typeof data[i] === 'string' ? JSON.stringify(data[i]) : float ? String(Number((data[i] as number).toPrecision(7))) : String(data[i]),
    )
  if (data.length > shown) parts.push('...')
  return parts.join(', ')
}

function printAttribute(attribute: Attribute, indent: string): string {
  switch (attribute.kind) {
    case 'int':
      return String(attribute.value)
    case 'float':
      return printFloat(attribute.value)
    case 'string':
      return JSON.stringify(attribute.value)
    case 'ints':
      return `[${attribute.value.join(', ')}]`
    case 'floats':
      return `[${attribute.value.map(printFloat).join(', ')}]`
    case 'strings':
      return `[${attribute.value.map((text) => JSON.stringify(text)).join(', ')}]`
    case 'tensor':
      return `${attribute.value.dtype}[${attribute.value.shape}]${printTensor(attribute.value)}`
    case 'tensors':
      return `[${attribute.value.map(printTensor).join(', ')}]`
    case 'graph':
      return `\n${printGraph(attribute.value, `${indent}    `)}`
    case 'graphs':
      return attribute.value.map((graph) => `\n${printGraph(graph, `${indent}    `)}`).join('')
    case 'reference':
      return `@${attribute.value}`
    case 'opaque':
      return `<${attribute.value.length} bytes>`
  }
}

/** Floats keep a mark that tells them from ints. */
function printFloat(value: number): string {
  const text = String(Number(value.toPrecision(7)))
  return /^-?\d+$/.test(text) ? `${text}.0` : text
}
