import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { attribute, Graph, printGraph, valuesUsed, verify } from '../../src/ir/index.js'
import { branching, expressionOf, graphs, scalar, tiny } from './graphs.js'

const names = (graph: Graph) => [...graph.nodes()].map(({ operator }) => operator).join(' ')

describe('edges', () => {
  test('know both ends, each use on its own', () => {
    const graph = new Graph()
    const x = graph.addInput('x', 'float32', [])
    const square = graph.add('Mul', [x, x])
    expect([...x.uses].map(({ node, index }) => [node, index])).toEqual([
      [square, 0],
      [square, 1],
    ])
    expect(x.users).toEqual([square])
    square.setInput(1, null)
    expect(x.uses.size).toBe(1)
    square.setInput(3, x)
    expect(square.inputs).toEqual([x, null, null, x])
    expect(square.output.producer).toBe(square)
    verifyAll(graph)
  })

  test('of graphs inside nodes count as uses', () => {
    const graph = branching()
    expect(graph.value('a')!.uses.size).toBe(3)
    expect(valuesUsed(graph.value('z')!.producer!).map(({ name }) => name)).toEqual(['condition', 'a', 'a'])
  })
})

describe('surgery', () => {
  test('nodes go before and after others', () => {
    const graph = tiny()
    const relu = graph.first!
    graph.add('Exp', [relu.output], { after: relu })
    graph.add('Neg', [graph.inputs[0]], { before: relu })
    expect(names(graph)).toBe('Neg Relu Exp Add')
    graph.move(graph.first!, { after: graph.last! })
    expect(names(graph)).toBe('Relu Exp Add Neg')
    expect(graph.size).toBe(4)
    verifyAll(graph)
  })

  test('a graph may change while it is walked', () => {
    const graph = tiny()
    const seen: string[] = []
    for (const node of graph.nodes()) {
      seen.push(node.operator)
      if (node.operator === 'Relu') graph.add('Exp', [node.output], { after: node })
      if (node.operator === 'Exp') graph.remove(node)
    }
    expect(seen).toEqual(['Relu', 'Exp', 'Add'])
    expect(names(graph)).toBe('Relu Add')
    verifyAll(graph)
  })

  test('an output keeps its name when another value takes its place', () => {
    const graph = tiny()
    const scaled = graph.add('Mul', [graph.outputs[0], graph.value('c')!])
    scaled.setInput(0, graph.value('a')!)
    graph.replaceAllUses(graph.outputs[0], scaled.output)
    expect(graph.outputs.map(({ name, producer }) => [name, producer!.operator])).toEqual([['y', 'Mul']])
    graph.prune()
    expect(names(graph)).toBe('Relu Mul')
    verifyAll(graph)
  })

  test('an output that becomes an input or constant passes through an Identity', () => {
    for (const from of ['x', 'c']) {
      const graph = tiny()
      graph.replaceAllUses(graph.outputs[0], graph.value(from)!)
      expect(graph.outputs[0].name).toBe('y')
      expect(graph.outputs[0].producer!.operator).toBe('Identity')
      graph.prune()
      expect(names(graph)).toBe('Identity')
      verifyAll(graph)
    }
  })

  test('uses inside branches follow', () => {
    const graph = branching()
    const exp = graph.add('Exp', [graph.inputs[0]], { before: graph.first! })
    graph.replaceAllUses(graph.value('a')!, exp.output)
    expect(graph.value('a')!.uses.size).toBe(0)
    expect(graph.prune()).toBe(1)
    verifyAll(graph)
  })

  test('what is in use cannot go', () => {
    const graph = branching()
    expect(() => graph.remove(graph.first!)).toThrow('a is in use')
    expect(() => graph.removeConstant(graph.value('c')!)).toThrow('in use')
    expect(() => graph.addInput('x', null, null)).toThrow('the name x is used twice')
    expect(() => graph.rename(graph.value('a')!, 'c')).toThrow('the name c is taken')
  })

  test('removing a node with branches frees what they used', () => {
    const graph = branching()
    graph.outputs.pop()
    graph.remove(graph.value('z')!.producer!)
    expect(graph.value('a')!.uses.size).toBe(1)
    verifyAll(graph)
  })

  test('names stay unique, also against graphs around', () => {
    const graph = branching()
    expect(graph.uniqueName('a')).toBe('a_1')
    expect([graph.addConstant('c', scalar(1)).name, graph.addConstant('c', scalar(1)).name]).toEqual(['c_1', 'c_2'])
    const branch = graph.value('z')!.producer!.subgraphs[0]
    expect(branch.uniqueName('x')).toBe('x_1')
    expect(branch.visible('x')).toBe(graph.inputs[0])
    expect(branch.value('x')).toBeUndefined()
    graph.rename(graph.value('a')!, 'renamed')
    expect([graph.value('a'), graph.value('renamed')!.name]).toEqual([undefined, 'renamed'])
  })
})

describe('prune', () => {
  test('removes what no output needs, in branches too, and only that', () => {
    const graph = branching()
    graph.add('Exp', [graph.add('Neg', [graph.inputs[0]]).output])
    graph.addConstant('unused', scalar(1))
    const branch = graph.value('z')!.producer!.subgraphs[1]
    branch.add('Neg', [branch.value('inner')!])
    expect(graph.prune()).toBe(4)
    expect(names(graph)).toBe('Relu Add If')
    expect(graph.prune()).toBe(0)
    verifyAll(graph)
  })
})

describe('sort', () => {
  test('puts shuffled nodes in order and keeps a right order', () => {
    fc.assert(
      fc.property(graphs, fc.array(fc.nat()), (original, places) => {
        const graph = original.clone()
        const before = graph.outputs.map(expressionOf)
        const order = printGraph(graph)
        graph.sort()
        expect(printGraph(graph)).toBe(order)
        const nodes = [...graph.nodes()]
        for (const place of places) graph.move(nodes[place % nodes.length], { before: nodes[(3 * place + 1) % nodes.length] })
        graph.sort()
        verifyAll(graph)
        expect(graph.outputs.map(expressionOf)).toEqual(before)
        expect(graph.size).toBe(nodes.length)
      }),
    )
  })

  test('finds cycles, through branches too', () => {
    const graph = tiny()
    graph.first!.setInput(0, graph.outputs[0])
    expect(() => graph.sort()).toThrow('the graph has a cycle through Relu relu')
    const around = branching()
    const branch = around.value('z')!.producer!.subgraphs[0]
    branch.first!.setInput(0, around.value('z')!)
    expect(() => around.sort()).toThrow('cycle')
  })
})

describe('clone', () => {
  test('shares nothing but tensors, and prints the same', () => {
    const graph = branching()
    graph.first!.notes.set('why', 'test')
    const copy = graph.clone()
    verifyAll(copy)
    expect(printGraph(copy)).toBe(printGraph(graph))
    expect(copy.value('a')!.uses.size).toBe(3)
    expect(graph.value('a')!.uses.size).toBe(3)
    const text = printGraph(graph)
    copy.replaceAllUses(copy.value('a')!, copy.inputs[0])
    copy.prune()
    expect(printGraph(graph)).toBe(text)
    verifyAll(graph)
    expect(copy.value('c')!.tensor).toBe(graph.value('c')!.tensor)
    for (const subgraph of copy.value('z')!.producer!.subgraphs) expect(subgraph.parent).toBe(copy)
  })
})

describe('extract', () => {
  test('takes what lies between inputs and outputs', () => {
    const graph = branching()
    const part = graph.extract([graph.value('a')!], [graph.value('y')!])
    expect(names(part)).toBe('Add')
    expect([...part.constants.keys()]).toEqual(['c'])
    verifyAll(part)
    const whole = graph.extract(graph.inputs, [graph.value('z')!])
    expect(names(whole)).toBe('Relu If')
    verifyAll(whole)
    expect(graph.value('a')!.uses.size).toBe(3)
  })

  test('says what is missing', () => {
    const graph = tiny()
    expect(() => graph.extract([], [graph.outputs[0]])).toThrow('y cannot be computed without x')
  })

  test('computes the same', () => {
    fc.assert(
      fc.property(graphs, (graph) => {
        const part = graph.extract(graph.inputs, graph.outputs)
        verifyAll(part)
        expect(part.outputs.map(expressionOf)).toEqual(graph.outputs.map(expressionOf))
        expect(part.size).toBeLessThanOrEqual(graph.size)
      }),
    )
  })
})

test('random rewrites keep the graph whole and its outputs what they were', () => {
  const step = fc.tuple(fc.constantFrom('identity', 'double', 'bypass', 'prune', 'sort', 'rename', 'clone'), fc.nat())
  fc.assert(
    fc.property(graphs, fc.array(step, { maxLength: 20 }), (original, steps) => {
      let graph = original.clone()
      const expected = graph.outputs.map(expressionOf)
      const labels = graph.outputs.map(({ name }) => name)
      for (const [kind, at] of steps) {
        const nodes = [...graph.nodes()]
        const node = nodes[at % nodes.length]
        if (kind === 'identity') {
          const uses = [...node.output.uses]
          const copy = graph.add('Identity', [node.output], { after: node }).output
          for (const { node: user, index } of uses) user.setInput(index, copy)
        } else if (kind === 'double') {
          const twin = graph.add(node.operator, node.inputs, { before: node, attributes: { mark: attribute.int(at) } })
          graph.replaceAllUses(node.output, twin.output)
        } else if (kind === 'bypass' && node.operator === 'Identity' && !graph.outputs.includes(node.output))
          graph.replace(node, node.input(0)!)
        else if (kind === 'prune') graph.prune()
        else if (kind === 'sort') graph.sort()
        else if (kind === 'rename' && !graph.outputs.includes(node.output)) graph.rename(node.output, graph.uniqueName(`value${at}`))
        else if (kind === 'clone') graph = graph.clone()
        verifyAll(graph)
        expect(graph.outputs.map(expressionOf)).toEqual(expected)
        expect(graph.outputs.map(({ name }) => name)).toEqual(labels)
      }
    }),
    { numRuns: 300 },
  )
})

/** The checks of `verify`, and that every use that a value knows is there. */
function verifyAll(graph: Graph): void {
  verify(graph)
  for (const node of graph.nodes())
    for (const output of node.outputs) for (const use of output.uses) expect(use.node.inputs[use.index]).toBe(output)
}
