import type { Random } from '../../../src/base/random.js'
import type { Backend, Batch, Cache } from '../../../src/engine/compiled/backend.js'
import { type CacheLayer, type Plan, planFrom } from '../../../src/engine/compiled/plan/plan.js'
import { type Buffer, type Step, type View, whole } from '../../../src/engine/compiled/plan/steps.js'
import { ArrayTensor } from '../../../src/ir/tensor.js'

/** A step without its name. */
type Unnamed<S> = S extends Step ? Omit<S, 'name'> : never

export const floats = (shape: readonly number[], data: ArrayLike<number>) => new ArrayTensor('float32', shape, Float32Array.from(data))
export const bytes = (shape: readonly number[], data: ArrayLike<number>) => new ArrayTensor('int8', shape, Int8Array.from(data))

/** Numbers that blocks of 32 bytes hold exactly: whole multiples, up to 127, of a power of two of each block. */
export function exactInputs(random: Random, count: number): number[] {
  return Array.from({ length: count / 32 }, () => 2 ** (random.integer(6) - 8)).flatMap((unit) => [
    127 * unit,
    ...Array.from({ length: 31 }, () => (random.integer(255) - 127) * unit),
  ])
}

/** Builds plans of a few steps over given rows. */
export class PlanBuilder {
  readonly #steps: Step[] = []
  readonly #outputs = new Map<string, View>()
  readonly #images = new Map<string, number>()
  readonly #caches: CacheLayer[] = []

  buffer(columns: number, { per = 'token', dtype = 'float32' }: Partial<Buffer> = {}): View {
    return whole({ name: `buffer ${this.#steps.length}`, per, columns, dtype })
  }

  /** Adds a step and gives what it writes. */
  add(step: Unnamed<Step>): View {
    this.#steps.push({ name: `step ${this.#steps.length}`, ...step } as Step)
    return step.output
  }

  /** A buffer with these rows [tokens, columns], one for each token of a run. */
  rows(columns: number, values: ArrayLike<number>): View {
    const table = { rows: values.length / columns, columns, values: floats([values.length / columns, columns], values) }
    return this.add({ kind: 'embed', lookups: [{ table, numbers: { input: 'row' } }], output: this.buffer(columns) })
  }

  /** The codes of a buffer as floats: what a product with the identity gives. */
  codesOf(codes: View): View {
    const size = codes.columns
    const identity = Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0))
    return this.add({
      kind: 'linear',
      input: codes,
      weight: {
        kind: 'int8',
        codes: bytes([size, size], identity),
        scale: floats([size], new Array<number>(size).fill(1)),
        input: { kind: 'static', scale: 1, zeroPoint: 0 },
      },
      output: this.buffer(size),
    })
  }

  image(name: string, elements: number): string {
    this.#images.set(name, elements)
    return name
  }

  cache(layer: CacheLayer): number {
    return this.#caches.push(layer) - 1
  }

  output(name: string, view: View): this {
    this.#outputs.set(name, view)
    return this
  }

  plan(): Plan {
    return planFrom({ steps: this.#steps, outputs: this.#outputs, images: this.#images, caches: this.#caches })
  }
}

export interface RunPlanOptions {
  /** Tokens of each sequence. */
  readonly lengths: readonly number[]
  readonly pasts?: readonly number[]
  readonly images?: Batch['images']
  readonly threads?: number
  /** Keep last tokens only: outputs behind the plan's step `keep` have a row for each sequence. */
  readonly keepLast?: boolean
  /** Keys and values of past tokens [past, columns], by sequence and layer; made up from their place unless given. */
  readonly past?: (sequence: number, layer: number, part: 'keys' | 'values', at: number) => number
}

export interface PlanResult {
  readonly outputs: Readonly<Record<string, Float32Array>>
  /** Keys and values after the run, by sequence and layer. */
  readonly caches: readonly (readonly Readonly<Record<'keys' | 'values', Float32Array>>[])[]
}

const madeUp: NonNullable<RunPlanOptions['past']> = (sequence, layer, part, at) =>
  Math.sin(1 + sequence + 3 * layer + 0.37 * at + (part === 'keys' ? 0 : 5))

/** Compiles a plan on a backend and runs it once; rows are numbered 0, 1, ... over all sequences. */
export async function runPlan(
  backend: Backend,
  plan: Plan,
  { lengths, pasts = lengths.map(() => 0), images = {}, threads = 1, keepLast = false, past = madeUp }: RunPlanOptions,
): Promise<PlanResult> {
  const starts = Int32Array.from(
    [0, ...lengths],
    (
      (sum) => (length: number) =>
        (sum += length)
    )(0),
  )
  const tokens = starts[lengths.length]
  const program = await backend.compile(plan, { threads })
  const caches = plan.caches.length ? lengths.map((length, i) => program.allocateCache(pasts[i] + length)) : undefined
  const each = (visit: (cache: Cache, sequence: number, layer: number, part: 'keys' | 'values', columns: number) => void) =>
    caches?.forEach((cache, sequence) => {
      plan.caches.forEach(({ keyColumns, valueColumns }, layer) => {
        visit(cache, sequence, layer, 'keys', keyColumns)
        visit(cache, sequence, layer, 'values', valueColumns)
      })
    })
  each((cache, sequence, layer, part, columns) =>
    cache.write(
      layer,
      part,
      Float32Array.from({ length: pasts[sequence] * columns }, (_, at) => past(sequence, layer, part, at)),
    ),
  )
  const outputs = Object.fromEntries(
    [...plan.outputs].map(([name, view]) => {
      const rows = view.buffer.per === 'token' && !keepLast ? tokens : lengths.length
      return [name, new Float32Array(rows * view.columns)]
    }),
  )
  await program.run({
    starts,
    pasts: Int32Array.from(pasts),
    caches,
    numbers: { row: Int32Array.from({ length: tokens }, (_, i) => i) },
    images,
    keepLast,
    outputs,
  })
  const kept = (caches ?? []).map((cache, i) =>
    plan.caches.map((_, layer) => ({
      keys: cache.read(layer, 'keys', pasts[i] + lengths[i]),
      values: cache.read(layer, 'values', pasts[i] + lengths[i]),
    })),
  )
  for (const cache of caches ?? []) cache.dispose()
  await program.dispose()
  return { outputs, caches: kept }
}

/** The largest difference, relative to the largest magnitude that is expected, or to one that is given where that is larger. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>, least = 1e-30): number {
  let [difference, size] = [0, least]
  for (let i = 0; i < expected.length; i++) {
    if (Number.isNaN(actual[i]) !== Number.isNaN(expected[i])) return Number.POSITIVE_INFINITY
    if (Number.isNaN(expected[i])) continue
    difference = Math.max(difference, Math.abs(actual[i] - expected[i]))
    size = Math.max(size, Math.abs(expected[i]))
  }
  return difference / size
}
