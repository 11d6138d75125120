import { afterAll, describe, expect, it } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import type { CacheLayer } from '../../../../src/engine/compiled/plan/plan.js'
import {
  type Buffer,
  type Step,
  type StepOf,
  type View,
  viewsRead,
  viewsWritten,
  whole,
} from '../../../../src/engine/compiled/plan/steps.js'
import { kernelsOf } from '../../../../src/engine/compiled/program.js'
import { contextOf, type X64Context } from '../../../../src/engine/compiled/x64/context.js'
import type { Features } from '../../../../src/engine/compiled/x64/features.js'
import { addressOf, type Mapped, mapCode, mapMemory, viewMemory } from '../../../../src/engine/compiled/x64/memory.node.js'
import { x64Rules } from '../../../../src/engine/compiled/x64/rules.js'
import { bytes, floats } from '../plans.js'
import type { Arena, Place } from './arena.js'
import { EmulatedMachine, emulator } from './emulator.js'
import { runsHere } from './machine.js'
import { StepMemory } from './step-calls.js'

const avx2: Features = {
  avx2: true,
  avxVnni: false,
  avx512: false,
  avx512Vnni: false,
  avx512Bf16: false,
  amxInt8: false,
}
const avx512: Features = { ...avx2, avx512: true, avx512Vnni: true }

/** Columns: one vector of 512 bits, some of them, tails, and less than one. */
const widths = [16, 128, 77, 5]
const sequences = [
  { rows: 2, past: 0, capacity: 4 },
  { rows: 5, past: 3, capacity: 9 },
  { rows: 1, past: 6, capacity: 7 },
]
const tokens = 8

/** A step of every kind for rows, in some of its forms. */
function stepsOf(columns: number): Step[] {
  const random = new Random(columns)
  const normals = (count: number) => Array.from({ length: count }, () => random.normal())
  const constant = (count = columns) => floats([count], normals(count))
  let made = 0
  const buffer = (width = columns, { per = 'token', dtype = 'float32' }: Partial<Buffer> = {}) =>
    whole({ name: `${made++}`, per, columns: width, dtype })
  /** A view in the middle of a buffer. */
  const part = (): View => ({ ...buffer(columns + 7), column: 3, columns })
  const output = () => (random.integer(2) ? buffer() : part())
  const codes = bytes(
    [tokens, columns],
    Array.from({ length: tokens * columns }, () => random.integer(256) - 128),
  )
  const numbers = { input: 'row' }
  const lookups = [
    { table: { rows: tokens, columns, values: floats([tokens, columns], normals(tokens * columns)) }, numbers },
    { table: { rows: tokens, columns, values: codes, scale: constant(tokens) }, numbers },
  ]
  const uint8 = { dtype: 'uint8' } as const
  const rows = { kind: 'rows', parameters: buffer(2) } as const
  const fixed = { kind: 'static', scale: 0.03, zeroPoint: 90 } as const
  const steps: (Step extends infer S ? (S extends Step ? Omit<S, 'name'> : never) : never)[] = [
    { kind: 'embed', lookups, output: output() },
    { kind: 'norm', input: buffer(), centered: true, epsilon: 1e-5, weight: constant(), bias: constant(), output: output() },
    { kind: 'norm', input: buffer(3 * columns), centered: false, epsilon: 1e-5, weight: constant(), output: buffer(3 * columns) },
    ...[fixed, rows].map(
      (quantization) =>
        ({
          kind: 'norm',
          input: buffer(),
          centered: true,
          epsilon: 1e-5,
          weight: constant(),
          output: output(),
          codes: { quantizer: { factors: constant(), quantization, highest: 255 }, output: buffer(columns, uint8) },
        }) as const,
    ),
    { kind: 'quantize', input: buffer(), factors: constant(), quantization: fixed, highest: 255, output: buffer(columns, uint8) },
    { kind: 'quantize', input: buffer(), quantization: fixed, highest: 127, output: { ...buffer(columns + 7, uint8), column: 3, columns } },
    { kind: 'quantize', input: buffer(), factors: constant(), quantization: rows, highest: 255, output: buffer(columns, uint8) },
    ...(['gelu', 'gelu-tanh', 'quick-gelu', 'silu', 'relu', 'tanh', 'sigmoid'] as const).map(
      (name) => ({ kind: 'activation', function: name, input: buffer(), gate: buffer(), output: output() }) as const,
    ),
    ...(['add', 'subtract', 'multiply', 'divide', 'maximum'] as const).map(
      (operator, i) =>
        ({ kind: 'combine', operator, left: buffer(), right: [buffer(), buffer(1), constant()][i % 3], output: output() }) as const,
    ),
    { kind: 'length', input: buffer(), output: buffer(1) },
    { kind: 'largest', input: buffer(), output: buffer(1) },
    ...(['first', 'last', 'sum'] as const).map(
      (how) => ({ kind: 'pool', how, input: buffer(), output: buffer(columns, { per: 'sequence' }) }) as const,
    ),
    { kind: 'count', output: buffer(1, { per: 'sequence' }) },
  ]
  return steps.map((step, i) => ({ ...step, name: `${step.kind} ${i}` }) as Step)
}

/** Attention that rotates what it reads, and appends to a cache of floats or codes: whole heads and parts of them, in both ways. */
function rotatedAttention(headSize: number): StepOf<'attention'>[] {
  const [heads, keyValueHeads] = [4, 2]
  const random = new Random(headSize)
  const view = (name: string, count: number) => whole({ name, per: 'token', columns: count * headSize, dtype: 'float32' })
  return [headSize, headSize - 4].flatMap((rotary) =>
    [false, true].flatMap((interleaved) =>
      (['float32', 'int8'] as const).map((cacheDtype) => {
        const table = () =>
          floats(
            [tokens, rotary / 2],
            Array.from({ length: (tokens * rotary) / 2 }, () => random.normal()),
          )
        return {
          kind: 'attention',
          name: `rotary ${rotary} of ${headSize}, ${interleaved}, ${cacheDtype}`,
          query: view('query', heads),
          key: view('key', keyValueHeads),
          value: view('value', keyValueHeads),
          heads,
          keyValueHeads,
          scale: 1 / Math.sqrt(headSize),
          causal: true,
          rotation: { rotary, interleaved, cos: table(), sin: table(), numbers: { input: 'row' } },
          cache: 0,
          cacheDtype,
          output: view('output', heads),
        }
      }),
    ),
  )
}

/** The caches that a step appends to. */
function layersOf(step: Step): CacheLayer[] {
  if (step.kind !== 'attention') return []
  const { key, value, keyValueHeads, cacheDtype } = step
  return [{ keyColumns: key.columns, valueColumns: value.columns, ...(cacheDtype === 'int8' && { scales: keyValueHeads }) }]
}

/** Memory of this process, without guards: kernels may read beyond constants. */
class PlainArena implements Arena {
  readonly mapped: Mapped[] = []

  place(count: number): Place {
    const mapped = mapMemory(count + 64)
    this.mapped.push(mapped)
    return { address: mapped.address, bytes: viewMemory(mapped.address, count) }
  }
}

/** A step with memory filled with numbers, always the same ones. */
function memoryOf(step: Step, arena: Arena): StepMemory {
  const memory = new StepMemory(
    arena,
    sequences,
    layersOf(step),
    Int32Array.from({ length: tokens }, (_, i) => (3 * i) % tokens),
  )
  const random = new Random(7)
  const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal())
  for (const [layer, { keyColumns, valueColumns }] of layersOf(step).entries())
    for (const [i, { past }] of sequences.entries()) {
      memory.caches[i].write(layer, 'keys', normals(past * keyColumns))
      memory.caches[i].write(layer, 'values', normals(past * valueColumns))
    }
  for (const { buffer } of [...viewsRead(step), ...viewsWritten(step)]) {
    const numbers = memory.rows(buffer)
    for (let i = 0; i < numbers.length; i++) numbers[i] = 3 * random.normal()
  }
  return memory
}

/** What the step wrote, with all columns of its buffers. */
function resultsOf(step: Step, memory: StepMemory): number[][] {
  return viewsWritten(step).map(({ buffer }) => {
    const numbers = memory.rows(buffer)
    const isBytes = buffer.dtype === 'uint8'
    const all: ArrayLike<number> = isBytes ? new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength) : numbers
    const stride = all.length / (buffer.per === 'token' ? tokens : sequences.length)
    return Array.from(all).filter((_, i) => i % stride < buffer.columns)
  })
}

async function blocksOf(step: Step, context: X64Context, memory: StepMemory) {
  const kernels = await kernelsOf(x64Rules, step, context)
  return kernels.map(({ code, words }) => ({ code: code(), parameters: memory.block(words) }))
}

describe.skipIf(!runsHere || !emulator)('kernels for rows with vectors of 512 bits (skipped without TINSMITH_BOCHS)', () => {
  const arena = new PlainArena()
  afterAll(() => {
    for (const mapped of arena.mapped) mapped.release()
  })

  it.each(widths)('give what those of 256 bits give, %i columns', (columns) => compare(stepsOf(columns), 1e-6))

  it.each([64, 16, 20])('give what those of 256 bits give where attention rotates, heads of %i', async (headSize) => {
    // An emulated machine has room for the memory of one.
    for (const step of rotatedAttention(headSize)) await compare([step], 1e-5)
  })

  async function compare(steps: readonly Step[], tolerance: number): Promise<void> {
    const machine = new EmulatedMachine()
    const runs: { step: Step; native: StepMemory; emulated: StepMemory }[] = []
    for (const step of steps) {
      const native = memoryOf(step, arena)
      for (const { code, parameters } of await blocksOf(step, contextOf(avx2), native)) {
        const mapped = mapCode(code)
        mapped.call(addressOf(parameters))
        mapped.release()
      }
      const emulated = memoryOf(step, machine)
      for (const { code, parameters } of await blocksOf(step, contextOf(avx512), emulated))
        machine.call(machine.placeBytes(code), parameters)
      runs.push({ step, native, emulated })
    }
    machine.run('sapphire_rapids')
    for (const { step, native, emulated } of runs) {
      const [got, want] = [resultsOf(step, emulated), resultsOf(step, native)]
      for (const [i, values] of want.entries()) {
        const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
        const wrong = values.filter((value, at) => !(Math.abs(value - got[i][at]) <= tolerance * largest))
        expect(wrong, step.name).toEqual([])
      }
    }
  }
})
