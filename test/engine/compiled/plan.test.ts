import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../../src/base/random.js'
import { BlockTensor } from '../../../src/engine/compiled/plan/block-tensor.js'
import { describePlan } from '../../../src/engine/compiled/plan/describe.js'
import { planOf } from '../../../src/engine/compiled/plan/index.js'
import { maskKind } from '../../../src/engine/compiled/plan/mask.js'
import type { Buffer } from '../../../src/engine/compiled/plan/steps.js'
import { rowBytes, viewsRead, whole } from '../../../src/engine/compiled/plan/steps.js'
import { verifyPlan } from '../../../src/engine/compiled/plan/verify.js'
import { arenaBytes, planMemory, viewOffset } from '../../../src/engine/compiled/program.js'
import { reference } from '../../../src/engine/compiled/reference/backend.js'
import { openCompiled } from '../../../src/engine/compiled/session.js'
import { ints } from '../../../src/ir/attribute.js'
import { Graph } from '../../../src/ir/graph.js'
import { ArrayTensor } from '../../../src/ir/tensor.js'
import { Net } from '../../../src/nn/net.js'
import { ndarray } from '../../../src/numbers/dtype.js'
import { fresh, smallLlama } from './small-models.js'

const bert = {
  model_type: 'bert',
  architectures: ['BertModel'],
  vocab_size: 50,
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  intermediate_size: 48,
  max_position_embeddings: 12,
  type_vocab_size: 2,
}
const llama = smallLlama(64)

const lifetimes = fc.array(fc.tuple(fc.integer({ min: 1, max: 300 }), fc.nat(20), fc.nat(6), fc.constantFrom('token', 'sequence')), {
  minLength: 1,
  maxLength: 30,
})

describe('memory', () => {
  it('never gives buffers that are needed at the same time the same place, for any numbers of rows', () => {
    fc.assert(
      fc.property(lifetimes, fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 9 }), (given, token, sequence) => {
        const buffers = new Map<Buffer, [number, number]>(
          given.map(([columns, first, length, per], i) => [
            { name: String(i), per: per as 'token', columns, dtype: 'float32' },
            [first, first + length],
          ]),
        )
        const plan = planMemory(buffers)
        const rows = { token, sequence }
        const places = [...buffers].map(([buffer, [first, last]]) => {
          const start = viewOffset(plan, whole(buffer), rows)
          return { first, last, start, end: start + rowBytes(buffer) * rows[buffer.per] }
        })
        for (const [i, a] of places.entries()) {
          expect(a.end).toBeLessThanOrEqual(arenaBytes(plan, rows))
          for (const b of places.slice(i + 1)) {
            const together = a.first <= b.last && b.first <= a.last
            if (together) expect(a.end <= b.start || b.end <= a.start).toBe(true)
          }
        }
      }),
    )
  })
})

describe('plans are refused', () => {
  it('where a step reads what no step has written', async () => {
    for (const config of [bert, llama]) {
      const plan = await planOf(fresh(config))
      expect(() => verifyPlan(plan)).not.toThrow()
      for (const step of plan.steps) {
        if (step.kind === 'keep') continue
        const steps = plan.steps.filter((other) => other !== step)
        const isLast = step === plan.steps.at(-1)
        expect(() => verifyPlan({ ...plan, steps })).toThrow(isLast ? /^The output/ : /which nothing has written/)
      }
    }
  })

  it('where memory is taken that is still needed', async () => {
    const plan = await planOf(fresh(bert))
    const { steps, memory } = plan
    for (const [i, { output }] of steps.entries())
      for (const { output: earlier } of steps.slice(0, i)) {
        const isNeeded = steps.slice(i).some((step) => viewsRead(step).some(({ buffer }) => buffer === earlier.buffer))
        if (!isNeeded || earlier.buffer === output.buffer || earlier.buffer.per !== output.buffer.per) continue
        const offsets = new Map([...memory.offsets, [output.buffer, memory.offsets.get(earlier.buffer)!]])
        expect(() => verifyPlan({ ...plan, memory: { ...memory, offsets } })).toThrow(/writes over|which nothing has written/)
      }
  })
})

describe('blocks along rows', () => {
  it('are what DequantizeLinear computes, also when they are read as blocks', async () => {
    const kinds = fc.constantFrom('uint4', 'int4', 'uint8', 'int8')
    await fc.assert(
      fc.asyncProperty(
        kinds,
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 3 }),
        fc.boolean(),
        fc.nat(),
        async (dtype, rows, across, isOne, seed) => {
          const random = new Random(seed)
          const bits = dtype.endsWith('4') ? 4 : 8
          const lowest = dtype.startsWith('u') ? 0 : -(2 ** (bits - 1))
          const draw = (count: number) => Array.from({ length: count }, () => lowest + random.integer(2 ** bits))
          const [codes, scales] = [draw(rows * across * 32), Array.from({ length: rows * across }, () => random.normal())]
          const zeros = isOne ? new Array<number>(rows * across).fill(draw(1)[0]) : draw(rows * across)
          const stored = (shape: number[], values: number[]) => ArrayTensor.of(ndarray(dtype as 'uint8', shape, values))
          const scale = new ArrayTensor('float32', [rows, across], Float32Array.from(scales))
          const tensor = new BlockTensor(stored([rows, across * 32], codes), scale, stored([rows, across], zeros), 32)
          const expected = codes.map((code, i) => (scale.data[i >> 5] as number) * (code - zeros[i >> 5]))
          const { codes: own, scales: factors, zeroPoint, minimums } = await tensor.blocks()
          const decoded = expected.map((_, i) => factors[i >> 5] * (own[i] - zeroPoint) + (minimums?.[i >> 5] ?? 0))
          const numbers = await tensor.read()
          for (const [i, value] of expected.entries()) {
            expect(numbers[i]).toBeCloseTo(value, 3)
            expect(decoded[i]).toBeCloseTo(value, 3)
          }
        },
      ),
    )
  })
})

describe('masks', () => {
  it('are told apart by what they let be seen', async () => {
    for (const [config, causal] of [
      [bert, false],
      [llama, true],
    ] as const) {
      const graph = fresh(config)
      const attention = [...graph.nodes()].find((node) => node.type === 'Attention')!
      expect(await maskKind(attention.input(3)!, graph)).toEqual({ causal, window: undefined })
    }
  })
})

describe('plans', () => {
  it('fold bias, activation and residual into products, lookups into one step, and keep last tokens behind the last attention', async () => {
    const encoder = await planOf(fresh(bert))
    const kinds = encoder.steps.map(({ kind }) => kind)
    expect(kinds.filter((kind) => kind === 'embed')).toHaveLength(1)
    expect(kinds.filter((kind) => kind === 'combine' || kind === 'activation')).toHaveLength(0)
    const decoder = await planOf(fresh(llama))
    const attention = decoder.steps.findLastIndex(({ kind }) => kind === 'attention')
    expect(decoder.steps.findIndex(({ kind }) => kind === 'keep')).toBe(attention + 2)
    expect(decoder.caches).toEqual(Array.from({ length: 2 }, () => ({ keyColumns: 16, valueColumns: 16 })))
  })

  it('describe operations and bytes of every step', async () => {
    const { steps, constantBytes } = describePlan(await planOf(fresh(bert)))
    const first = steps.find(({ kind }) => kind === 'linear')!
    expect(first.operationsPerRow).toBe(2 * 32 * first.columns)
    expect(constantBytes).toBe(steps.reduce((sum, step) => sum + step.constantBytes, 0))
  })

  it('refuse graphs with the names of all operators that have no kernels', async () => {
    const net = new Net(new Graph('strange'))
    const ids = net.input('input_ids', 'int64', ['batch', 'sequence'])
    const rows = net.op('Gather', [net.graph.addConstant('table', (await import('./plans.js')).floats([4, 4], new Float32Array(16))), ids])
    const odd = net.op('Cos', [net.op('Transpose', [rows], { perm: ints([1, 0, 2]) })])
    net.output('out', odd)
    await expect(planOf(net.graph)).rejects.toThrow(/no kernels for Transpose .*Cos/)
  })
})

describe('bad input', () => {
  const ids = (values: number[], shape = [1, values.length]) => ndarray('int64', shape, values)
  const feedsOf = (input: ReturnType<typeof ids>) => ({
    input_ids: input,
    attention_mask: ids(
      Array.from({ length: input.data.length }, () => 1),
      [...input.shape],
    ),
    token_type_ids: ids(
      Array.from({ length: input.data.length }, () => 0),
      [...input.shape],
    ),
  })

  it('is refused in a sentence, and the session goes on', async () => {
    const session = await openCompiled(fresh(bert), reference, { threads: 1 })
    await expect(session.run(feedsOf(ids([1, 50])))).rejects.toThrow(/input_ids holds 50, and the table has rows 0 to 49/)
    await expect(session.run(feedsOf(ids([1, -1])))).rejects.toThrow(/input_ids holds -1/)
    await expect(session.run(feedsOf(ids([], [0, 3])))).rejects.toThrow(/one sequence at least/)
    await expect(session.run(feedsOf(ids([], [2, 0])))).rejects.toThrow(/one token at least/)
    await expect(session.run(feedsOf(ids(new Array<number>(13).fill(1))))).rejects.toThrow(/13 tokens, and the model has 12 positions/)
    const left = { ...feedsOf(ids([1, 2, 3])), attention_mask: ids([0, 1, 1]) }
    await expect(session.run(left)).rejects.toThrow(/padding behind the tokens/)
    const results = await session.run(feedsOf(ids([1, 2, 3])))
    expect(results['last_hidden_state'].shape).toEqual([1, 3, 32])
    await session.dispose()
  })
})
