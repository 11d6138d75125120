import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import { elementwiseKernel } from '../../../../src/engine/compiled/x64/elementwise.js'
import { processorFeatures } from '../../../../src/engine/compiled/x64/features.node.js'
import { addressOf, mapCode } from '../../../../src/engine/compiled/x64/memory.node.js'
import { chooseVectorMachine, vectorMachines } from '../../../../src/engine/compiled/x64/vector-machine.js'
import { Graph } from '../../../../src/ir/graph.js'
import { Net } from '../../../../src/nn/net.js'
import { optimizerFrom, optimizerNames } from '../../../../src/train/optimizers/index.js'
import type { ElementwiseOptimizer } from '../../../../src/train/optimizers/optimizer.js'
import { updateGraph } from '../../../../src/train/updater.js'
import { GuardedArena } from './arena.js'
import { type ElementwiseCase, expectedOutputs, feedsFor, placeElementwise, randomCase } from './elementwise-cases.js'
import { EmulatedMachine, emulator } from './emulator.js'
import { runsHere } from './machine.js'

const machine = runsHere ? chooseVectorMachine(processorFeatures()) : undefined
const lengths = fc.integer({ min: 0, max: 70 })
const rate = { step: 3, learningRate: 0.01, weightDecay: 0.1 }

/** The update graphs of optimizers that look at elements, with the state that they have by default or with momentum. */
const updates = [
  ...optimizerNames.map((name) => optimizerFrom({ name })),
  optimizerFrom({ name: 'sgd', momentum: 0.9 }),
  optimizerFrom({ name: 'sgd', momentum: 0.9, nesterov: true }),
].filter((optimizer): optimizer is ElementwiseOptimizer => 'state' in optimizer)

/** An update in place: the outputs lie over the parameter and its state. */
function updateCase(optimizer: ElementwiseOptimizer, length: number, seed: number): ElementwiseCase {
  const graph = updateGraph(optimizer, ['n'])
  const order = ['parameter', ...optimizer.state, 'gradient', 'factor', ...Object.keys(optimizer.scalars(rate))]
  graph.inputs.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name))
  return { graph, length, feeds: feedsFor(graph, length, new Random(seed)), inPlace: true }
}

/** More values at once than there are registers. */
function manyValues(): Graph {
  const net = new Net(new Graph())
  const x = net.input('x', 'float32', ['n'])
  const values = Array.from({ length: 40 }, (_, i) => net.op('Div', [x, net.float(i + 2)]))
  net.output(
    'y',
    values.reduceRight((sum, value) => net.op('Sub', [sum, value])),
  )
  for (const i of [0, 7, 39]) net.output(`y${i}`, values[i])
  return net.graph
}

describe.skipIf(!machine)('elementwise graphs as machine code (skipped without AVX2)', () => {
  async function check(one: ElementwiseCase): Promise<void> {
    const arena = new GuardedArena()
    const kernel = (await elementwiseKernel(one.graph, machine!))!
    const code = mapCode(kernel.code)
    const { parameters, read, isIntact } = placeElementwise(arena, one, kernel)
    code.call(addressOf(parameters))
    code.release()
    expect(read()).toEqual(await expectedOutputs(one))
    expect(isIntact()).toBe(true)
    arena.release()
  }

  it('give the bits of the reference evaluation, between pages that must not be touched', async () => {
    const cases = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 60 }), lengths, fc.boolean())
    await fc.assert(
      fc.asyncProperty(cases, (words) => check(randomCase(...words))),
      { numRuns: 300 },
    )
  })

  it('with more values at once than registers', async () => {
    const graph = manyValues()
    for (const length of [1, 16, 37]) await check({ graph, length, feeds: feedsFor(graph, length, new Random(length)), inPlace: true })
  })

  it.each(updates.map((optimizer, i) => [`${optimizer.name}, ${i}`, optimizer] as const))('updates in place: %s', async (_, optimizer) => {
    await fc.assert(
      fc.asyncProperty(lengths, fc.nat(), (length, seed) => check(updateCase(optimizer, length, seed))),
      { numRuns: 50 },
    )
  })
})

describe('graphs that are left to others', () => {
  const build = (make: (net: Net) => void) => {
    const net = new Net(new Graph())
    make(net)
    return elementwiseKernel(net.graph, vectorMachines.avx2)
  }
  it.each<[string, (net: Net) => void]>([
    ['another operator', (net) => net.output('y', net.op('Exp', [net.input('x', 'float32', ['n'])]))],
    ['another dtype', (net) => net.output('y', net.op('Neg', [net.input('x', 'float64', ['n'])]))],
    ['a matrix', (net) => net.output('y', net.op('Neg', [net.input('x', 'float32', ['n', 'm'])]))],
    ['two lengths', (net) => net.output('y', net.op('Add', [net.input('x', 'float32', ['n']), net.input('z', 'float32', ['m'])]))],
    ['truth values as output', (net) => net.output('y', net.op('Less', [net.input('x', 'float32', ['n']), net.float(0)]))],
    ['a constant vector', (net) => net.output('y', net.op('Add', [net.input('x', 'float32', ['n']), net.floats('c', [1], [1])]))],
    ['a scalar as output', (net) => net.output('y', net.op('Neg', [net.input('x', 'float32', [])]))],
    [
      'three operands',
      (net) =>
        net.output(
          'y',
          net.op(
            'Max',
            ['a', 'b', 'c'].map((name) => net.input(name, 'float32', ['n'])),
          ),
        ),
    ],
  ])('%s', async (_, make) => expect(await build(make)).toBeUndefined())
})

describe.skipIf(!emulator)('elementwise graphs on an emulated processor (skipped without TINSMITH_BOCHS)', () => {
  it.each(['avx2', 'avx512'] as const)('%s', async (name) => {
    const emulated = new EmulatedMachine()
    const many = manyValues()
    const cases = [
      ...Array.from({ length: 40 }, (_, seed) => randomCase(seed, 1 + seed, seed, seed % 2 === 0)),
      ...updates.map((optimizer, i) => updateCase(optimizer, 31 + i, i)),
      { graph: many, length: 37, feeds: feedsFor(many, 37, new Random(0)), inPlace: false },
    ]
    const placed = []
    for (const one of cases) {
      const kernel = (await elementwiseKernel(one.graph, vectorMachines[name]))!
      const { parameters, read } = placeElementwise(emulated, one, kernel)
      emulated.call(emulated.placeBytes(kernel.code), parameters)
      placed.push(read)
    }
    emulated.run('sapphire_rapids')
    for (const [i, one] of cases.entries()) expect(placed[i]()).toEqual(await expectedOutputs(one))
  })
})
