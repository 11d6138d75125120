import { describe, expect, it } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import { elementwiseKernel } from '../../../../src/engine/compiled/x64/elementwise.js'
import { elementwiseFunctions } from '../../../../src/engine/compiled/x64/elementwise-functions.js'
import { processorFeatures } from '../../../../src/engine/compiled/x64/features.node.js'
import { addressOf, mapCode } from '../../../../src/engine/compiled/x64/memory.node.js'
import { chooseVectorMachine } from '../../../../src/engine/compiled/x64/vector-machine.js'
import { Graph } from '../../../../src/ir/graph.js'
import { Net } from '../../../../src/nn/net.js'
import { erf } from '../../../../src/ops/special.js'
import { runsHere } from './machine.js'

const machine = runsHere ? chooseVectorMachine(processorFeatures()) : undefined

/** What an operator in machine code makes of some numbers. */
async function results(operator: string, numbers: readonly number[]): Promise<Float32Array> {
  const net = new Net(new Graph())
  net.output('y', net.op(operator, [net.input('x', 'float32', ['n'])]))
  const kernel = (await elementwiseKernel(net.graph, machine!, elementwiseFunctions))!
  const [x, y] = [Float32Array.from(numbers), new Float32Array(numbers.length)]
  const code = mapCode(kernel.code)
  code.call(addressOf(kernel.parameters.block({ count: x.length, 'input x': addressOf(x), 'output y': addressOf(y) })))
  code.release()
  return y
}

describe.skipIf(!machine)('functions as machine code (skipped without AVX2)', () => {
  const random = new Random(1)
  const numbers = Array.from({ length: 4001 }, (_, i) => Math.fround(random.normal() * 10 ** ((i % 7) - 4)))

  it.each([
    ['Exp', Math.exp, numbers.map((x) => Math.max(-86, Math.min(88, x)))],
    ['Erf', erf, numbers],
  ] as const)('%s is right to 4e-7', async (operator, exact, inputs) => {
    const found = await results(operator, inputs)
    expect(inputs.findIndex((x, i) => !(Math.abs(found[i] - exact(Math.fround(x))) <= 4e-7 * Math.abs(exact(Math.fround(x)))))).toBe(-1)
  })

  it('have the limits of the functions', async () => {
    const limits = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, Number.NaN, 0]
    expect([...(await results('Exp', limits))]).toEqual([0, Number.POSITIVE_INFINITY, Number.NaN, 1])
    const [low, high, none, zero] = await results('Erf', limits)
    expect([low, high, none, zero].map((value) => Math.abs(value))).toEqual([expect.closeTo(1, 6), expect.closeTo(1, 6), Number.NaN, 0])
    expect(low).toBeLessThan(0)
  })
})
