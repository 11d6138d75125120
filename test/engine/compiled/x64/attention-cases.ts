import fc from 'fast-check'
import { Random } from '../../../../src/base/random.js'
import type { CacheLayer, CachePart } from '../../../../src/engine/compiled/plan/plan.js'
import { type AttentionProducts, type Buffer, rowBytes, type StepOf, type View } from '../../../../src/engine/compiled/plan/steps.js'
import type { Rows } from '../../../../src/engine/compiled/reference/arrays.js'
import { attend } from '../../../../src/engine/compiled/reference/attention.js'
import { ReferenceCache } from '../../../../src/engine/compiled/reference/backend.js'
import type { Arena } from './arena.js'
import { StepMemory, type TestSequence } from './step-calls.js'

/** Heads, sizes and masks of an attention, and the sequences that it sees. */
export interface AttentionCase {
  readonly seed: number
  readonly keyValueHeads: number
  readonly group: number
  readonly headSize: number
  readonly valueSize: number
  readonly causal: boolean
  readonly window?: number
  readonly softCap?: number
  /** How large scores are. */
  readonly spread: number
  readonly sequences: readonly TestSequence[]
  readonly cached: boolean
  /** Whether the cache holds codes. */
  readonly coded: boolean
  /** Whether products are those of codes; only without a cache and a soft cap. */
  readonly products?: AttentionProducts
  /** How many share the work. */
  readonly threads: number
}

const sizes = fc.constantFrom(1, 3, 8, 12, 16, 24, 32, 40, 64)

function casesOf(
  maxHeads: number,
  group: fc.Arbitrary<number>,
  lengths: fc.Arbitrary<number>,
  maxLength: number,
): fc.Arbitrary<AttentionCase> {
  return fc
    .record({
      seed: fc.nat(),
      keyValueHeads: fc.integer({ min: 1, max: maxHeads }),
      group,
      headSize: sizes,
      valueSize: fc.option(sizes, { nil: undefined }),
      causal: fc.boolean(),
      window: fc.option(fc.constantFrom(1, 2, 7, 20, 256), { nil: undefined }),
      softCap: fc.option(fc.constantFrom(1, 30), { nil: undefined }),
      spread: fc.constantFrom(0.01, 1, 3),
      cached: fc.boolean(),
      coded: fc.boolean(),
      threads: fc.integer({ min: 1, max: 3 }),
      sequences: fc.array(fc.record({ rows: lengths, past: lengths, room: fc.constantFrom(0, 3) }), { maxLength }),
    })
    .map(({ valueSize, sequences, cached, ...rest }) => ({
      ...rest,
      cached,
      valueSize: valueSize ?? rest.headSize,
      sequences: sequences.map(({ rows, past, room }) => (cached ? { rows, past, capacity: rows + past + room + 1 } : { rows })),
    }))
}

/** A few tokens with heads of every kind. */
export const shortAttentionCases = casesOf(3, fc.constantFrom(1, 2, 3, 4, 7), fc.oneof(fc.integer({ min: 0, max: 35 }), fc.constant(1)), 3)

/** Products of codes: a few tokens, and some more. */
export const codesAttentionCases = fc
  .oneof(shortAttentionCases, { arbitrary: casesOf(1, fc.constantFrom(1, 3), fc.constantFrom(0, 1, 63, 64, 65, 150), 3), weight: 1 })
  .map(
    (one): AttentionCase => ({
      ...one,
      products: 'int8',
      cached: false,
      softCap: undefined,
      sequences: one.sequences.map(({ rows }) => ({ rows })),
    }),
  )

/** Around and beyond the number of keys that are worked on together. */
export const longAttentionCases = casesOf(1, fc.constantFrom(1, 3), fc.constantFrom(1, 3, 255, 256, 257, 600), 1)

/** Queries, keys and values side by side in one buffer, as a product with joined weights leaves them. */
function stepOf(one: AttentionCase): StepOf<'attention'> {
  const { keyValueHeads, group, headSize, valueSize, causal, window, softCap, products, cached, coded } = one
  const heads = group * keyValueHeads
  const widths = [heads * headSize, keyValueHeads * headSize, keyValueHeads * valueSize]
  const joined: Buffer = { name: 'joined', per: 'token', columns: widths.reduce((a, b) => a + b), dtype: 'float32' }
  const [query, key, value] = widths.map(
    (columns, i): View => ({ buffer: joined, columns, column: widths.slice(0, i).reduce((a, b) => a + b, 0) }),
  )
  // One more column on each side shows whether anything else is written.
  const buffer: Buffer = { name: 'output', per: 'token', columns: heads * valueSize + 2, dtype: 'float32' }
  const output = { buffer, column: 1, columns: heads * valueSize }
  const scale = 1 / Math.sqrt(headSize)
  return {
    kind: 'attention',
    name: 'attention',
    query,
    key,
    value,
    heads,
    keyValueHeads,
    scale,
    causal,
    window,
    softCap,
    output,
    cache: cached ? 1 : undefined,
    cacheDtype: coded ? 'int8' : 'float32',
    products,
  }
}

const untouched = 12345

/** Memory for the step with random contents. */
function memoryOf(arena: Arena, one: AttentionCase, step: StepOf<'attention'>): StepMemory {
  const random = new Random(one.seed)
  const columns = { keyColumns: step.key.columns, valueColumns: step.value.columns }
  const layer: CacheLayer = { ...columns, ...(one.coded && { scales: one.keyValueHeads }) }
  const memory = new StepMemory(arena, one.sequences, one.cached ? [{ keyColumns: 3, valueColumns: 2 }, layer] : [])
  const fill = (values: Float32Array) => {
    for (const i of values.keys()) values[i] = one.spread * random.normal()
  }
  fill(memory.rows(step.query.buffer))
  memory.rows(step.output.buffer).fill(untouched)
  if (one.cached) {
    for (const [sequence, { capacity }] of memory.caches.entries()) {
      for (const [part, { columns }] of Object.entries({ keys: step.key, values: step.value })) {
        const values = new Float32Array(capacity * columns)
        fill(values)
        memory.caches[sequence].write(1, part as CachePart, values)
      }
    }
  }
  return memory
}

function rowsOf(memory: StepMemory, { buffer, column, columns }: View): Rows<Float32Array> {
  return { data: memory.rows(buffer).subarray(column), count: memory.tokens, stride: rowBytes(buffer) / 4, columns }
}

/**
 * What the reference makes of the memory before the kernel ran: the whole output buffer, the caches, and the size of values: outputs are averages of
 * them, which may cancel out.
 */
function expectedOf(one: AttentionCase, step: StepOf<'attention'>, memory: StepMemory) {
  const expected = memory.rows(step.output.buffer).slice()
  const output = { ...rowsOf(memory, step.output), data: expected.subarray(step.output.column) }
  const caches = memory.caches.map(({ layers, capacity }, sequence) => {
    const cache = new ReferenceCache(layers, capacity)
    cache.copy(memory.caches[sequence], capacity)
    return cache
  })
  let [first, size] = [0, 0]
  for (const [sequence, { rows, past = 0 }] of one.sequences.entries()) {
    const [keys, values] = (
      [
        ['keys', step.key],
        ['values', step.value],
      ] as const
    ).map(([part, view]) => {
      const fresh = rowsOf(memory, view)
      if (!one.cached) return { data: fresh.data.subarray(first * fresh.stride), stride: fresh.stride, tokens: rows }
      const cache = caches[sequence]
      for (let row = 0; row < rows; row++) {
        const start = (first + row) * fresh.stride
        cache.write(1, part, fresh.data.subarray(start, start + view.columns), past + row)
      }
      return { data: cache.read(1, part, past + rows), stride: view.columns, tokens: past + rows }
    })
    attend(step, rowsOf(memory, step.query), keys, values, first, rows, output)
    first += rows
    size = Math.max(size, largest(values.data))
  }
  return { output: expected, caches, size }
}

/** An attention in memory, ready to be computed. */
export interface PlacedAttention {
  readonly step: StepOf<'attention'>
  readonly memory: StepMemory
  /** What differs from the reference in the output, beside it, and in the caches, once it has been computed. */
  wrong(): string[]
}

/** The largest magnitude; NaN where there is one. */
function largest(values: ArrayLike<number>): number {
  return Array.from(values).reduce((most, value) => Math.max(most, Math.abs(value)), 0)
}

export function placeAttention(arena: Arena, one: AttentionCase): PlacedAttention {
  const step = stepOf(one)
  const memory = memoryOf(arena, one, step)
  const expected = expectedOf(one, step, memory)
  const { column, columns, buffer } = step.output
  const isInside = (i: number) => {
    const place = i % (rowBytes(buffer) / 4)
    return place >= column && place < column + columns
  }
  const wrong = () => {
    const output = memory.rows(buffer)
    const inside = [...output.keys()].filter(isInside)
    const difference = largest(inside.map((i) => output[i] - expected.output[i]))
    const layers = one.cached ? ([0, 1] as const) : []
    return [
      ...(difference <= 1e-5 * expected.size ? [] : [`the output, by ${difference}`]),
      ...[...output.keys()].filter((i) => !isInside(i) && output[i] !== untouched).map((i) => `beside the output at ${i}`),
      ...expected.caches.flatMap((cache, sequence) =>
        layers.flatMap((layer) =>
          (['keys', 'values'] as const)
            .filter((part) => {
              const [got, want] = [memory.caches[sequence], cache].map((one) => one.read(layer, part, cache.capacity))
              return got.some((value, i) => value !== want[i])
            })
            .map((part) => `the cached ${part} of sequence ${sequence}`),
        ),
      ),
    ]
  }
  return { step, memory, wrong }
}
