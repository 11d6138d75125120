import type { Local } from './function.js'
import { baselineFeatures, ModuleBuilder, type WasmFeatures } from './module.js'
import { f32x4, i16x8, i32, i32x4, integers, type Value, v128 } from './values.js'

let known: Promise<WasmFeatures> | undefined

/** What this process's WebAssembly has beyond the baseline and computes rightly; found out once. */
export function wasmFeatures(): Promise<WasmFeatures> {
  known ??= probe()
  return known
}

/** An instruction that adds products to a sum, with operands that show mistakes and where the sum begins. */
interface Trial {
  readonly first: Uint8Array
  readonly second: Uint8Array
  readonly start: readonly number[]
  readonly operation: (a: Value<'v128'>, b: Value<'v128'>, sum: Value<'v128'>) => Value<'v128'>
  /** What one repetition adds to a lane. */
  readonly step: (lane: number) => number
}

/** All that the 7-bit form must get right: pairs of the largest products of either sign, mixed signs, zeros. */
const signed = Int8Array.of(-128, -128, -128, -128, 127, 127, 127, 127, -128, 127, -1, 1, 0, 5, -77, 100)
const small = Uint8Array.of(127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 126, 127, 0, 1, 64)
const factors = Float32Array.of(3, -5, 0.5, 7)
const multipliers = Float32Array.of(2, 4, -6, 0)

/** In units of 2^-15: halves of a unit of either sign, the largest products, and what rounds to zero. */
const fractions = Int16Array.of(1, -1, 3, -3, 32767, -32768, 12345, 127)
const others = Int16Array.of(16384, 16384, 16384, 16384, 32767, 32767, -32767, 128)

/** With unsigned bytes: the largest pairs that fit in 16 bits. */
const halved = Int8Array.of(-128, 0, -64, -64, 127, 1, 64, 64, -128, 127, -1, 1, 0, 5, -77, 100)
const unsigned = Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 128, 200, 255, 0, 129, 254)

function productsOf(first: Int8Array, second: Uint8Array) {
  return {
    first: new Uint8Array(first.buffer),
    second,
    start: [1000003, -7, 2 ** 30, -(2 ** 30)],
    step: (lane: number) => [0, 1, 2, 3].reduce((sum, i) => sum + first[4 * lane + i] * second[4 * lane + i], 0),
  }
}

/** Instructions that add products, with their sums. */
const dots = {
  pairs: (a, b, sum) => i32x4.add(sum, i32x4.extadd_pairwise_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(a, b))),
  quads: i32x4.relaxed_dot_i8x16_i7x16_add_s,
} as const satisfies Readonly<Record<string, Trial['operation']>>

const trials = {
  multiplyAdd: {
    first: new Uint8Array(factors.buffer),
    second: new Uint8Array(multipliers.buffer),
    start: [1, -2, 3, -4],
    operation: (a, b, sum) => i32x4.trunc_sat_f32x4_s(f32x4.relaxed_madd(a, b, f32x4.convert_i32x4_s(sum))),
    step: (lane) => factors[lane] * multipliers[lane],
  },
  roundedProduct: {
    first: new Uint8Array(fractions.buffer),
    second: new Uint8Array(others.buffer),
    start: [1000003, -7, 2 ** 30, -(2 ** 30)],
    operation: (a, b, sum) => i32x4.add(sum, i32x4.extadd_pairwise_i16x8_s(i16x8.relaxed_q15mulr_s(a, b))),
    step: (lane) => [2 * lane, 2 * lane + 1].reduce((sum, i) => sum + ((fractions[i] * others[i] + 2 ** 14) >> 15), 0),
  },
  pairs: { ...productsOf(signed, small), operation: dots.pairs },
  quads: { ...productsOf(signed, small), operation: dots.quads },
} as const satisfies Readonly<Record<string, Trial>>

/**
 * Validates the relaxed instructions and runs them on known vectors until an engine has replaced its first, quick translation by its
 * best one: either may be wrong.
 */
export async function probe(): Promise<WasmFeatures> {
  const { multiplyAdd, roundedProduct, pairs, quads } = await provedTrials()
  const dot = pairs && quads ? (fastest(quads) < fastest(pairs) ? 'quads' : 'pairs') : quads ? 'quads' : pairs ? 'pairs' : 'none'
  const proofs = { multiplyAdd: multiplyAdd !== undefined, roundedProduct: roundedProduct !== undefined }
  if (dot === 'none') return { ...baselineFeatures, ...proofs }
  const operation = dots[dot]
  const [bytes, sums] = await Promise.all(
    [productsOf(halved, unsigned), productsOf(signed, unsigned)].map((given) => proved({ ...given, operation })),
  )
  return { ...proofs, dot, largestCode: bytes ? 255 : 127, pairBits: bytes && sums ? 32 : 16 }
}

async function provedTrials(): Promise<Readonly<Record<keyof typeof trials, Run | undefined>>> {
  const found = await Promise.all(Object.entries(trials).map(async ([name, trial]) => [name, await proved(trial)] as const))
  return Object.fromEntries(found) as Record<keyof typeof trials, Run | undefined>
}

/** The trial's function where it never goes wrong. */
async function proved(trial: Trial): Promise<Run | undefined> {
  const bytes = trialModule(trial)
  if (!WebAssembly.validate(bytes)) return undefined
  const { instance } = await WebAssembly.instantiate(bytes)
  const run = instance.exports['run'] as Run
  return (await staysRight(trial, run)) ? run : undefined
}

/** Milliseconds of the fastest round. */
function fastest(run: Run): number {
  const times = Array.from({ length: rounds }, () => {
    const start = performance.now()
    run(repetitions, 0)
    return performance.now() - start
  })
  return Math.min(...times)
}

/** Repeats its instruction so often in each of several sums and gives a lane: those of the first sum come first. */
type Run = (times: number, lane: number) => number

/** Sums that grow beside each other, as in a tile: their speed is that of the instruction, not of one waiting for the other. */
const chains = 8

function trialModule({ first, second, start, operation }: Trial): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder()
  const run = module.function('run', ['i32', 'i32'], ['i32'], (f) => {
    const [times, lane] = f.parameters as Local<'i32'>[]
    const [a, b] = [v128.const(first), v128.const(second)].map((value) => f.local('v128', value))
    const sums = Array.from({ length: chains }, () => f.local('v128', integers(...start)))
    f.while(times, () => {
      for (const sum of sums) f.set(sum, operation(a, b, sum))
      f.add(times, -1)
    })
    for (let i = 0; i < 4 * chains; i++) f.if(i32.eq(lane, i), () => f.return(i32x4.extract_lane(sums[i >> 2], i % 4)))
  })
  module.export('run', run)
  return module.bytes()
}

/** Rounds, and repetitions in each: V8 replaces code after some hundred thousand steps, in another thread. */
const [rounds, repetitions] = [20, 20000]

async function staysRight({ start, step }: Trial, run: Run): Promise<boolean> {
  for (let round = 0; round < rounds; round++) {
    for (let lane = 0; lane < 4 * chains; lane++) {
      const times = round ? Math.ceil(repetitions / (4 * chains)) + round : 1
      if (run(times, lane) !== ((start[lane % 4] + times * step(lane % 4)) | 0)) return false
    }
    await new Promise((resolve) => setTimeout(resolve))
  }
  return true
}
