import { chebyshevPolynomial } from '../polynomial.js'
import type { Assembler } from './assembler.js'
import { type AttentionCode, type AttentionShape, local, localVector } from './attention-frame.js'
import { as, at, Label, type Memory, r8q, r13, r14, rax, rbx, rdx, rsi, type Vector } from './operands.js'
import type { VectorConstants } from './vector-machine.js'

/** Coefficients of 2^x on [-1/2, 1/2]. */
const coefficients = chebyshevPolynomial((x) => 2 ** x, -0.5, 0.5, 5).map((c, power) => c * 2 ** power)

/** Added to a number, it leaves the nearest whole number in the lowest bits. */
const shift = 1.5 * 2 ** 23

/** Powers below this would not be normal numbers. */
const lowestPower = -126

/** What powers of two are computed with; vectors or places in memory. */
export interface PowerConstants {
  readonly lowest: Vector | Memory
  readonly shift: Vector | Memory
  readonly coefficients: readonly (Vector | Memory)[]
}

export function powerConstants(constants: VectorConstants): PowerConstants {
  return {
    lowest: constants.float(lowestPower),
    shift: constants.float(shift),
    coefficients: coefficients.map((c) => constants.float(c)),
  }
}

/** The constants in registers: eight of them. */
export function heldPowerConstants(a: Assembler, constants: VectorConstants, registers: readonly Vector[]): PowerConstants {
  const { lowest, shift, coefficients } = powerConstants(constants)
  for (const [i, place] of [lowest, shift, ...coefficients].entries()) a.vmovups(registers[i], place)
  return { lowest: registers[0], shift: registers[1], coefficients: registers.slice(2, 2 + coefficients.length) }
}

/** Emits `x = 2^x` in every lane, for `x` up to 127, to a relative error of 2e-7; NaN stays. Two temporaries are overwritten. */
export function emitPowerOfTwo(a: Assembler, x: Vector, [sum, whole]: readonly Vector[], constants: PowerConstants): void {
  const { lowest, shift, coefficients } = constants
  a.vmovups(sum, lowest)
  a.vmaxps(x, sum, x)
  a.vaddps(whole, x, shift)
  a.vsubps(sum, whole, shift)
  a.vsubps(x, x, sum)
  a.vpslld(whole, whole, 23)
  const highest = coefficients.length - 1
  a.vmovups(sum, coefficients[highest])
  for (let power = highest - 1; power >= 0; power--) a.vfmadd213ps(sum, x, coefficients[power])
  a.vpaddd(x, sum, whole)
}

/** What scores are multiplied with: they are exponents of two, or, before a cap, those of exp(2 * score / cap). */
export function scoreFactor({ scale, softCap }: AttentionShape): number {
  return scale * Math.LOG2E * (softCap === undefined ? 1 : 2 / softCap)
}

/** Emits cap(x) of a score: softCap * tanh(score / softCap), by tanh(y) = 1 - 2 / (exp(2y) + 1). Two temporaries are overwritten. */
export function emitCap({ a, constants, shape }: AttentionCode, x: Vector, temporaries: readonly Vector[]): void {
  const { softCap } = shape
  if (softCap === undefined) return
  const [numerator] = temporaries
  a.vmovups(numerator, constants.float(-lowestPower))
  a.vminps(x, numerator, x)
  emitPowerOfTwo(a, x, temporaries, powerConstants(constants))
  a.vaddps(x, x, constants.float(1))
  a.vmovups(numerator, constants.float(-2 * softCap * Math.LOG2E))
  a.vdivps(x, numerator, x)
  a.vaddps(x, x, constants.float(softCap * Math.LOG2E))
}

/**
 * Caps and masks rbx rows of scores at r14, of keys from r13 on, and keeps the largest scores. Overwrites rbx, rdx, r8.
 *
 * @param vectors that a row of scores has
 */
export function emitFinishScores(code: AttentionCode, vectors: number): void {
  const { a, machine, shape, lanes, constants } = code
  const [maxima, places, lowest, [masked, key, x, ...temporaries]] = [0, 1, 2, 3].map((i) => machine.registers.slice(i * vectors))
  const next = new Label()
  const each = Array.from({ length: vectors }, (_, v) => v)
  for (const v of each) {
    a.vmovups(maxima[v], localVector('maximum', v * machine.bytes))
    if (shape.causal) a.vmovups(places[v], localVector('places', v * machine.bytes))
    if (shape.window) a.vmovups(lowest[v], localVector('lowest', v * machine.bytes))
  }
  a.vmovups(masked, constants.float(Number.NEGATIVE_INFINITY))
  a.mov(r8q, r14)
  a.mov(rdx, r13)
  a.bind(next)
  a.vmovd(as('xmm', key), as('r32', rdx))
  a.vpbroadcastd(key, as('xmm', key))
  for (const v of each) {
    const place = at(r8q, v * machine.bytes)
    a.vmovups(x, place)
    emitCap(code, x, temporaries)
    if (shape.causal) lanes.replaceWhereGreater(a, x, key, places[v], masked, temporaries[0])
    if (shape.window) lanes.replaceWhereGreater(a, x, lowest[v], key, masked, temporaries[0])
    a.vmovups(place, x)
    a.vmaxps(maxima[v], maxima[v], x)
  }
  a.add(r8q, vectors * machine.bytes)
  a.inc(rdx)
  a.dec(rbx)
  a.jne(next)
  for (const v of each) a.vmovups(localVector('maximum', v * machine.bytes), maxima[v])
}

/**
 * Makes the scores of a block, `blockKeys` rows at rsi, powers of two below their maxima, and updates the sums: results of the block are to
 * be multiplied with `inverse`, those of the blocks before with `carried`. Overwrites rax, rsi.
 */
export function emitSoftmax({ a, machine, constants }: AttentionCode, vectors: number): void {
  const { registers, bytes } = machine
  const each = Array.from({ length: vectors }, (_, v) => v)
  const [maxima, sums, rest] = [registers, registers.slice(vectors), registers.slice(2 * vectors)]
  const [x, ...temporaries] = rest.slice(8)
  const power = heldPowerConstants(a, constants, rest)
  const next = new Label()
  for (const v of each) {
    a.vmovups(maxima[v], localVector('maximum', v * bytes))
    a.vmovups(x, localVector('previous', v * bytes))
    a.vmovups(localVector('previous', v * bytes), maxima[v])
    a.vsubps(x, x, maxima[v])
    emitPowerOfTwo(a, x, temporaries, power)
    a.vmulps(sums[v], x, localVector('sum', v * bytes))
    a.vmovups(localVector('carried', v * bytes), sums[v])
  }
  a.mov(rax, local('blockKeys'))
  a.align(32)
  a.bind(next)
  for (const v of each) {
    a.vmovups(x, at(rsi, v * bytes))
    a.vsubps(x, x, maxima[v])
    emitPowerOfTwo(a, x, temporaries, power)
    a.vaddps(sums[v], sums[v], x)
    a.vmovups(at(rsi, v * bytes), x)
  }
  a.add(rsi, vectors * bytes)
  a.dec(rax)
  a.jne(next)
  for (const v of each) {
    a.vmovups(localVector('sum', v * bytes), sums[v])
    a.vmovups(x, constants.float(1))
    a.vdivps(x, x, sums[v])
    a.vmovups(localVector('inverse', v * bytes), x)
    a.vmulps(x, x, localVector('carried', v * bytes))
    a.vmovups(localVector('carried', v * bytes), x)
  }
}
