import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import { quantizeBlocks, quantizeBlocksParameters } from '../../../../src/engine/compiled/x64/block-activations.js'
import { activationBlock, blockGemm } from '../../../../src/engine/compiled/x64/block-gemm.js'
import { blockMachines } from '../../../../src/engine/compiled/x64/block-machine.js'
import { blockInputs } from '../../../../src/engine/compiled/x64/block-weights.js'
import { processorFeatures } from '../../../../src/engine/compiled/x64/features.node.js'
import { addressOf, type MappedCode, mapCode, mapMemory, viewMemory } from '../../../../src/engine/compiled/x64/memory.node.js'
import { GuardedArena } from './arena.js'
import { blockCaseOf, blockEpilogues, blockFormats, blockShapes, placeBlockGemm, referenceBlock, wrongOutputs } from './block-gemm-cases.js'
import { runsHere } from './machine.js'

const features = runsHere ? processorFeatures() : undefined
const machines = Object.values(blockMachines).filter(({ name }) => features?.[name])
const compiled = new Map<string, MappedCode>()
afterAll(() => {
  for (const code of compiled.values()) code.release()
})

function compile(key: string, make: () => Uint8Array): MappedCode {
  const code = compiled.get(key) ?? mapCode(make())
  compiled.set(key, code)
  return code
}

/** Quantizes rows by the kernel; rows are `gap` bytes apart more than they need. */
function quantize(input: Float32Array, rows: number, inputs: number, gap: number): { bytes: Uint8Array; stride: number } {
  const blocks = inputs / blockInputs
  const stride = blocks * activationBlock.bytes + gap
  const memory = mapMemory(rows * stride + 64, { guards: true })
  const block = quantizeBlocksParameters.block({
    input: addressOf(input),
    inputStride: inputs * 4,
    rows,
    blocks,
    output: memory.address,
    outputStride: stride,
  })
  compile('quantize', quantizeBlocks).call(addressOf(block))
  const bytes = viewMemory(memory.address, rows * stride).slice()
  memory.release()
  return { bytes, stride }
}

describe.skipIf(!machines.length)('activations in blocks (skipped without AVX2)', () => {
  it('are quantized as the reference does it, bit for bit', () => {
    fc.assert(
      fc.property(blockShapes, fc.constantFrom(0, 1, 1e-20, 1e30), ({ seed, rows, blocks, gap }, size) => {
        const random = new Random(seed)
        const inputs = blocks * blockInputs
        const input = Float32Array.from({ length: rows * inputs }, () => size * random.normal())
        const { bytes, stride } = quantize(input, rows, inputs, gap)
        for (let i = 0; i < rows * blocks; i++) {
          const at = Math.floor(i / blocks) * stride + (i % blocks) * activationBlock.bytes
          const view = new DataView(bytes.buffer, at)
          const want = referenceBlock(input.subarray(i * blockInputs, (i + 1) * blockInputs))
          expect([...new Int8Array(bytes.buffer, at, blockInputs)]).toEqual(want.codes)
          expect(view.getFloat32(activationBlock.scale, true)).toBe(want.scale)
          expect(view.getInt32(activationBlock.sum, true)).toBe(want.sum)
          expect(view.getFloat32(activationBlock.scaledSum, true)).toBe(Math.fround(want.scale * want.sum))
        }
      }),
      { numRuns: 100 },
    )
  })
})

describe.each(machines)('product of block weights, $name', (machine) => {
  it.each(blockFormats)('is near the reference on the same codes: %j', (format) => {
    fc.assert(
      fc.property(blockShapes, fc.constantFrom(...blockEpilogues), (shape, epilogue) => {
        const arena = new GuardedArena()
        const one = blockCaseOf(shape, format, epilogue)
        const { parameters, read } = placeBlockGemm(arena, machine, one)
        compile(JSON.stringify([machine.name, format, epilogue]), () => blockGemm(machine, format, epilogue)).call(addressOf(parameters))
        const got = read()
        arena.release()
        expect(wrongOutputs(one, got)).toEqual([])
      }),
      { numRuns: 80 },
    )
  })
})
