import fc from 'fast-check'
import { ArrayTensor, attribute, Graph, type Value } from '../../src/ir/index.js'
import { ndarray } from '../../src/numbers/dtype.js'

export const scalar = (value: number) => ArrayTensor.of(ndarray('float32', [], [value]))

/** x -> Relu -> a -> Add(a, c) -> y */
export function tiny(): Graph {
  const graph = new Graph('tiny')
  const x = graph.addInput('x', 'float32', ['n', 2])
  const c = graph.addConstant('c', scalar(3))
  const a = graph.add('Relu', [x], { outputs: ['a'], name: 'relu' }).output
  const y = graph.add('Add', [a, c], { outputs: ['y'], name: 'add' }).output
  graph.outputs.push(y)
  return graph
}

/** A condition, and two branches that use a value of the graph around them. */
export function branching(): Graph {
  const graph = tiny()
  const condition = graph.addInput('condition', 'bool', [])
  const branches = ['then_branch', 'else_branch'].map((name) => {
    const branch = new Graph(name, graph)
    const inner = branch.addConstant('inner', scalar(1))
    branch.outputs.push(branch.add('Sub', [graph.value('a')!, inner], { outputs: ['difference'] }).output)
    return [name, attribute.graph(branch)] as const
  })
  const choice = graph.add('If', [condition], { outputs: ['z'], attributes: Object.fromEntries(branches) })
  graph.outputs.push(choice.output)
  return graph
}

/** What evaluates to what, without any library: the expression of a value as text, names of inner values left out. */
export function expressionOf(value: Value): string {
  const made = new Map<Value, string>()
  const visit = (value: Value): string => {
    const known = made.get(value)
    if (known) return known
    const node = value.producer
    const text = node
      ? node.operator === 'Identity'
        ? visit(node.input(0)!)
        : `${node.operator}(${node.inputs.map((input) => (input ? visit(input) : '_')).join(',')})`
      : value.tensor
        ? String(value.tensor.elements![0])
        : value.name
    made.set(value, text)
    return text
  }
  return visit(value)
}

/** Random graphs of unary and binary nodes over two inputs and a constant. */
export const graphs: fc.Arbitrary<Graph> = fc
  .array(fc.tuple(fc.nat(), fc.nat(), fc.boolean()), { minLength: 1, maxLength: 12 })
  .map((steps) => {
    const graph = new Graph('random')
    const values: Value[] = [
      graph.addInput('x', 'float32', ['n']),
      graph.addInput('y', 'float32', ['n']),
      graph.addConstant('c', scalar(2)),
    ]
    for (const [a, b, binary] of steps) {
      const left = values[a % values.length]
      values.push(graph.add(binary ? 'Add' : 'Neg', binary ? [left, values[b % values.length]] : [left]).output)
    }
    graph.outputs.push(values.at(-1)!, values[Math.max(3, values.length >> 1)])
    return graph
  })
