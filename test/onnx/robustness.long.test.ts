import fs from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ByteSource, MemorySource } from '../../src/base/bytes.js'
import { TinsmithError } from '../../src/base/errors.js'
import { attribute, Graph, printGraph, verify } from '../../src/ir/index.js'
import { encodeOnnx, readOnnx, readTensorProto } from '../../src/onnx/index.js'
import { sharedPath } from '../support/shared.js'
import { floatsOf, graphOf, infoOf, modelOf, noAttribute, nodeOf } from './protos.js'

/** Reads a model and all its tensors; errors on purpose are fine. */
async function survives(bytes: Uint8Array): Promise<void> {
  try {
    const { graph } = await readOnnx(new MemorySource(bytes, 'mutated'))
    verify(graph)
    printGraph(graph)
    for (const { tensor } of graph.constants.values()) await tensor!.read()
    const written = await encodeOnnx(graph)
    expect(printGraph((await readOnnx(new MemorySource(written))).graph)).toBe(printGraph(graph))
  } catch (error) {
    if (!(error instanceof TinsmithError)) throw error
    expect(error.sentence.length).toBeLessThan(600)
  }
}

type Mutation = { kind: 'set' | 'insert' | 'delete' | 'cut' | 'repeat'; at: number; value: number; length: number }

const mutation: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.constantFrom('set', 'set', 'set', 'insert', 'delete', 'cut', 'repeat'),
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  value: fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)),
  length: fc.integer({ min: 1, max: 40 }),
})

function mutate(bytes: Uint8Array, { kind, at, value, length }: Mutation): Uint8Array {
  const from = Math.floor(at * bytes.length)
  const [head, tail] = [bytes.subarray(0, from), bytes.subarray(from)]
  if (kind === 'set') return Uint8Array.of(...head, value, ...tail.subarray(1))
  if (kind === 'insert') return Uint8Array.of(...head, ...new Array(length).fill(value), ...tail)
  if (kind === 'delete') return Uint8Array.of(...head, ...tail.subarray(length))
  if (kind === 'repeat') return Uint8Array.of(...head, ...tail.subarray(0, length), ...tail)
  return head.slice()
}

function small(): Uint8Array {
  const branch = graphOf({ node: [nodeOf('Neg', ['x'], ['z'])], output: [infoOf('z', ['n'])] })
  const attributes = [
    { ...noAttribute, name: 'then_branch', type: 5, g: branch },
    { ...noAttribute, name: 'else_branch', type: 5, g: branch },
  ]
  const node = [
    nodeOf('MatMul', ['x', 'w'], ['h'], { name: 'linear' }),
    nodeOf('If', ['c'], ['b'], { attribute: attributes }),
    nodeOf('Gelu', ['h'], ['y'], { attribute: [{ ...noAttribute, name: 'approximate', type: 3, s: new TextEncoder().encode('none') }] }),
  ]
  return modelOf({
    node,
    input: [infoOf('x', ['n', 4]), infoOf('c', [], 9)],
    output: [infoOf('y', ['n', 2]), infoOf('b')],
    initializer: [{ ...floatsOf('w', [1, 2, 3, 4, 5, 6, 7, 8]), dims: [4, 2] }],
    valueInfo: [infoOf('h', ['n', 'm + 1'])],
  })
}

describe('mutated files end in a model or a sentence', () => {
  test('a small one with a branch', async () => {
    const original = small()
    await survives(original)
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 4 }), (mutations) => survives(mutations.reduce(mutate, original))),
      { numRuns: 3000 },
    )
  }, 300_000)

  test('every prefix of it', async () => {
    const original = small()
    for (let length = 0; length < original.length; length++) await survives(original.subarray(0, length))
  })

  const exported = sharedPath('golden', 'exported', 'bert.torchscript.eager.onnx')
  test.skipIf(!exported)(
    'one that an exporter wrote',
    async () => {
      const original = fs.readFileSync(exported!)
      await fc.assert(
        fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), (mutations) => {
          let bytes: Uint8Array = original
          for (const { at, value } of mutations) {
            bytes = bytes.slice()
            bytes[Math.min(bytes.length - 1, Math.floor(at * bytes.length))] = value
          }
          return survives(bytes)
        }),
        { numRuns: 60 },
      )
    },
    300_000,
  )

  test('test data', async () => {
    await fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          readTensorProto(bytes)
        } catch (error) {
          if (!(error instanceof TinsmithError)) throw error
        }
      }),
      { numRuns: 5000 },
    )
  })
})

describe('a chain of 100,000 nodes', () => {
  const count = 100_000
  const chain = new Graph('chain')
  let value = chain.addInput('x', 'float32', ['n', 8])
  for (let i = 0; i < count; i++) value = chain.add('Elu', [value], { name: `node${i}`, attributes: { alpha: attribute.float(1) } }).output
  chain.outputs.push(value)

  test('is written and read, every byte once', async () => {
    const bytes = await encodeOnnx(chain)
    let [reads, total] = [0, 0]
    const source: ByteSource = {
      name: 'chain',
      size: bytes.length,
      async read(offset, length) {
        reads++
        total += length
        return bytes.subarray(offset, offset + length)
      },
    }
    const { graph } = await readOnnx(source)
    expect(graph.size).toBe(count)
    expect(total).toBe(bytes.length)
    expect(reads).toBeLessThan(bytes.length / 2 ** 17)
    verify(graph)
  }, 120_000)

  test('is edited in the middle: what an edit costs does not depend on the length', () => {
    const graph = chain.clone()
    let node = graph.first!
    for (let i = 0; i < count / 2; i++) node = node.next!
    const edits = 50_000
    for (let i = 0; i < edits; i++) {
      const relu = graph.add('Relu', [node.output], { after: node, outputs: [`edit${i}`] })
      relu.next!.setInput(0, relu.output)
      const next = relu.next!
      graph.replace(relu, node.output)
      if (next.input(0) !== node.output) throw new Error(`edit ${i} broke the chain`)
      node = i % 2 ? node.previous! : next
    }
    expect(graph.size).toBe(count)
    verify(graph)
    expect(graph.last!.output.name).toBe(chain.last!.output.name)
  }, 120_000)
})
