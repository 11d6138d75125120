import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import type { Rotation } from '../../../../src/engine/compiled/plan/steps.js'
import type { StepKernel } from '../../../../src/engine/compiled/program.js'
import { reference } from '../../../../src/engine/compiled/reference/backend.js'
import { attentionKernels } from '../../../../src/engine/compiled/x64/attention.js'
import { x64Backend } from '../../../../src/engine/compiled/x64/backend.node.js'
import type { X64Context } from '../../../../src/engine/compiled/x64/context.js'
import type { Features } from '../../../../src/engine/compiled/x64/features.js'
import { processorFeatures } from '../../../../src/engine/compiled/x64/features.node.js'
import { addressOf, type MappedCode, mapCode } from '../../../../src/engine/compiled/x64/memory.node.js'
import { vectorMachines } from '../../../../src/engine/compiled/x64/vector-machine.js'
import { floats, PlanBuilder, relativeError, runPlan } from '../plans.js'
import { GuardedArena } from './arena.js'
import {
  type AttentionCase,
  codesAttentionCases,
  longAttentionCases,
  type PlacedAttention,
  placeAttention,
  shortAttentionCases,
} from './attention-cases.js'
import { disassemble, hasDisassembler } from './disassembly.js'
import { EmulatedMachine, emulator } from './emulator.js'
import { runsHere } from './machine.js'

const features = runsHere ? processorFeatures() : undefined
const machines = Object.values(vectorMachines)

const mostThreads = 3

const noFeatures: Features = { avx2: false, avxVnni: false, avx512: false, avx512Vnni: false, avx512Bf16: false, amxInt8: false }

function kernelsOf({ step }: Pick<PlacedAttention, 'step'>, machine: (typeof machines)[number], has: Partial<Features> = {}) {
  const isWide = machine.name === 'avx512'
  const context: X64Context = {
    features: { ...noFeatures, avx2: true, avx512: isWide, avx512Vnni: isWide, ...has },
    vectors: machine,
    threads: mostThreads,
    highestCode: () => 255,
  }
  return attentionKernels(step, context)
}

/** The words of each call: of one thread, or of several, one after the other. */
function wordsOf({ words, split }: StepKernel<Uint8Array>, threads: number) {
  return threads > 1 && split ? Array.from({ length: threads }, (_, part) => split(part, threads)!) : [words]
}

describe.each(machines.filter(({ name }) => features?.[name]))('attention, $name', (machine) => {
  const compiled = new Map<string, MappedCode>()
  afterAll(() => {
    for (const code of compiled.values()) code.release()
  })

  function check(one: AttentionCase): void {
    const arena = new GuardedArena()
    try {
      const placed = placeAttention(arena, one)
      for (const kernel of kernelsOf(placed, machine)) {
        const mapped = compiled.get(kernel.key) ?? mapCode(kernel.code())
        compiled.set(kernel.key, mapped)
        for (const words of wordsOf(kernel, one.threads)) mapped.call(addressOf(placed.memory.block(words)))
      }
      expect(placed.wrong()).toEqual([])
    } finally {
      arena.release()
    }
  }

  it('agrees with the reference for heads, masks and caches of every kind', () => {
    fc.assert(fc.property(shortAttentionCases, check), { numRuns: 150 })
  })

  it('agrees with the reference for sequences of several blocks of keys', () => {
    fc.assert(fc.property(longAttentionCases, check), { numRuns: 30 })
  })

  it('agrees with the reference where products are those of codes', () => {
    fc.assert(fc.property(codesAttentionCases, check), { numRuns: 100 })
  })
})

describe.skipIf(!runsHere)('attention in a plan', () => {
  it.each([undefined, false, true])('appends to caches of sequences and reads all of them, rotated: %s', async (interleaved) => {
    const [heads, keyValueHeads, size] = [6, 2, 16]
    const columns = (heads + 2 * keyValueHeads) * size
    const random = new Random(3)
    const builder = new PlanBuilder()
    const joined = builder.rows(
      columns,
      Array.from({ length: 24 * columns }, () => random.normal()),
    )
    const view = (column: number, count: number) => ({ ...joined, column: column * size, columns: count * size })
    const rotation = interleaved === undefined ? undefined : rotationOf(interleaved, 12, random)
    const layer = { keyColumns: keyValueHeads * size, valueColumns: keyValueHeads * size }
    const [query, key, value] = [view(0, heads), view(heads, keyValueHeads), view(heads + keyValueHeads, keyValueHeads)]
    for (const cache of [builder.cache(layer), builder.cache(layer)]) {
      const output = builder.buffer(heads * size)
      builder.add({ kind: 'attention', query, key, value, heads, keyValueHeads, scale: 0.25, causal: true, rotation, cache, output })
      builder.output(`layer ${cache}`, output)
    }
    const plan = builder.plan()
    const options = { lengths: [1, 20, 3], pasts: [40, 5, 0] }
    const [got, want] = await Promise.all([x64Backend({ guards: true }), reference].map((backend) => runPlan(backend, plan, options)))
    for (const name of plan.outputs.keys()) expect(relativeError(got.outputs[name], want.outputs[name])).toBeLessThan(1e-5)
    for (const [sequence, layers] of got.caches.entries())
      for (const [layer, { keys, values }] of layers.entries()) {
        expect(relativeError(keys, want.caches[sequence][layer].keys)).toBeLessThan(1e-6)
        expect(values).toEqual(want.caches[sequence][layer].values)
      }
  })
})

/** A rotation by the places of tokens, 64 at most. */
function rotationOf(interleaved: boolean, rotary: number, random: Random): Rotation {
  const table = () =>
    floats(
      [64, rotary / 2],
      Array.from({ length: 32 * rotary }, () => random.normal()),
    )
  return { rotary, interleaved, cos: table(), sin: table(), numbers: 'index' }
}

const shape = {
  seed: 1,
  keyValueHeads: 2,
  group: 2,
  headSize: 20,
  valueSize: 36,
  causal: true,
  window: 9,
  spread: 1,
  cached: true,
  coded: false,
  threads: 1,
} as const
const lengths = [
  { rows: 1, past: 20, capacity: 24 },
  { rows: 33, past: 5, capacity: 40 },
  { rows: 7, past: 0, capacity: 7 },
]
const uncached = lengths.map(({ rows }) => ({ rows }))
const codes = { ...shape, cached: false, products: 'int8' } as const
const samples: readonly AttentionCase[] = [
  { ...codes, threads: 2, sequences: uncached },
  { ...codes, headSize: 32, valueSize: 32, window: undefined, causal: false, sequences: [{ rows: 150 }, { rows: 16 }] },
  { ...shape, sequences: lengths },
  { ...shape, coded: true, threads: 3, sequences: lengths },
  { ...shape, headSize: 32, valueSize: 32, window: undefined, coded: true, softCap: 3, sequences: lengths },
  { ...shape, headSize: 32, valueSize: 32, window: undefined, threads: 2, sequences: lengths },
  { ...shape, headSize: 16, valueSize: 8, causal: false, softCap: 5, cached: false, sequences: uncached },
  { ...shape, keyValueHeads: 1, headSize: 64, valueSize: 64, group: 3, softCap: 2, sequences: lengths },
]

describe.skipIf(!emulator)('attention on an emulated processor with AVX512 (skipped without TINSMITH_BOCHS)', () => {
  const onlyCodes = samples.filter(({ products }) => products)
  it.each([
    ...samples.map((one) => ({ one, machine: vectorMachines.avx512, has: {} })),
    ...onlyCodes.map((one) => ({ one, machine: vectorMachines.avx2, has: { avxVnni: true } })),
  ])('$machine.name $has $one', ({ one, machine, has }) => {
    const emulated = new EmulatedMachine()
    const placed = placeAttention(emulated, one)
    for (const kernel of kernelsOf(placed, machine, has)) {
      const code = emulated.placeBytes(kernel.code())
      for (const words of wordsOf(kernel, one.threads)) emulated.call(code, placed.memory.block(words))
    }
    emulated.run('sapphire_rapids')
    expect(placed.wrong()).toEqual([])
  })
})

describe.skipIf(!hasDisassembler())('code of attentions, read by objdump (skipped where binutils are absent)', () => {
  it.each(machines)('is instructions of $name', (machine) => {
    const rotations = [undefined, rotationOf(false, 12, new Random(1)), rotationOf(true, 12, new Random(1))]
    const steps = samples.flatMap((one) => {
      const { step } = placeAttention(new EmulatedMachine(), one)
      return rotations.slice(0, one.cached ? undefined : 1).map((rotation) => ({ ...step, rotation }))
    })
    for (const step of steps) {
      const kernels = kernelsOf({ step }, machine).map(({ code }) => {
        // Constants lie behind the last return.
        const lines = disassemble(code())
        return lines.slice(0, lines.lastIndexOf('ret'))
      })
      const instructions = kernels.flat()
      expect(instructions.length).toBeGreaterThan(1000)
      expect(instructions.filter((line) => line.includes('(bad)'))).toEqual([])
      expect(instructions.some((line) => line.includes('zmm'))).toBe(machine.name === 'avx512')
    }
  })
})
