import type { ActivationFunction } from '../plan/steps.js'
import type { Assembler } from './assembler.js'
import type { DotMachine } from './dot-machine.js'
import { vectorBytes } from './dot-machine.js'
import { type EmitFunction, emitCoarseFunctions, emitFunctions } from './functions.js'
import { as, at, Label, type Memory, rdx, type Vector } from './operands.js'
import type { VectorConstants } from './vector-machine.js'

/** What happens to the sums of a tile before they are written. */
export type Epilogue =
  /** The sums themselves, in integers. */
  | { readonly kind: 's32' }
  /**
   * The numbers that sums stand for, and `residual` added to them before the activation. `gated`: every two panels are for the same columns, and the
   * numbers of the second one, which see no activation, are multiplied with what the first one wrote.
   */
  | ({ readonly kind: 'f32'; readonly residual?: boolean; readonly gated?: boolean } & Numbers)
  /**
   * `clamp(round(number * factor) + zero point, 0, high)`, halves to even; NaN becomes 0. The activation may be off by `coarseError`. `bounded`: it
   * is known that the products with factors are numbers below 2^31.
   */
  | ({ readonly kind: 'codes'; readonly bounded?: boolean } & Numbers)

/**
 * `activation(sum * scale + bias)`; with `rows`, `(sum + row offset * sum of codes) * (scale * row scale)`. Sums of floats are not scaled, and
 * begin with the bias.
 */
interface Numbers {
  readonly rows?: boolean
  readonly bias?: boolean
  readonly activation?: ActivationFunction
}

/** Bytes of an output element. */
export function outputBytes({ kind }: Epilogue): 1 | 4 {
  return kind === 'codes' ? 1 : 4
}

export function isGated(epilogue: Epilogue): boolean {
  return epilogue.kind === 'f32' && epilogue.gated === true
}

/** The order of columns in which the panels of an epilogue are packed. */
export function panelOrder(epilogue: Epilogue): 'natural' | 'packed' {
  return outputBytes(epilogue) === 1 ? 'packed' : 'natural'
}

/** Where the epilogue finds what it needs; general registers are given by the kernel. */
export interface EpilogueContext {
  readonly machine: DotMachine
  /** Registers that hold no sums: four at least. */
  readonly free: readonly Vector[]
  readonly scale: Memory
  readonly bias: Memory
  readonly sums: Memory
  readonly factor: Memory
  /** First output, residual and row parameters (scale, offset) of the row. */
  readonly output: Memory
  readonly residual: Memory
  readonly rowScale: Memory
  readonly rowOffset: Memory
  /** Which of two panels for the same columns this is, 0 or 1. */
  readonly half: Memory
  readonly zeroPoint: Memory
  readonly high: Memory
  /** 2^30 as float32, beyond which conversion to integers would turn over. */
  readonly ceiling: Label
  readonly constants: VectorConstants
}

/** Emits the epilogue of one row of a tile. */
export function emitEpilogue(a: Assembler, epilogue: Epilogue, accumulators: readonly Vector[], context: EpilogueContext): void {
  const bytes = vectorBytes(context.machine)
  if (epilogue.kind === 's32') {
    for (const [v, register] of accumulators.entries()) a.vmovups(context.output.plus(v * bytes), register)
    return
  }
  if (context.machine.group > 1) for (const register of accumulators) a.vcvtdq2ps(register, register)
  emitNumbers(a, { residual: false, ...epilogue }, accumulators, context, bytes)
  const { activation } = epilogue
  if (activation && isGated(epilogue))
    emitGate(a, activation, accumulators, context, () => {
      for (const [v, register] of accumulators.entries()) a.vmulps(register, register, context.residual.plus(v * bytes))
    })
  else if (activation) {
    const coarse = epilogue.kind === 'codes' ? emitCoarseFunctions[activation] : undefined
    emitActivation(a, coarse ?? emitFunctions[activation], accumulators, context)
  }
  if (epilogue.kind === 'codes') {
    emitIntegers(a, accumulators, context, bytes, epilogue.bounded)
    emitBytes(a, accumulators, context)
  } else for (const [v, register] of accumulators.entries()) a.vmovups(context.output.plus(v * bytes), register)
}

/** The function of a gate, or what is done with the other one of two panels for the same columns. Uses rdx. */
export function emitGate(
  a: Assembler,
  activation: ActivationFunction,
  accumulators: readonly Vector[],
  context: Pick<EpilogueContext, 'free' | 'constants' | 'half'>,
  emitSecond: () => void,
): void {
  const [second, done] = [new Label(), new Label()]
  a.mov(rdx, context.half)
  a.test(rdx, rdx)
  a.jne(second)
  emitActivation(a, emitFunctions[activation], accumulators, context)
  a.jmp(done)
  a.bind(second)
  emitSecond()
  a.bind(done)
}

/** As many vectors at a time as there are registers for. */
function emitActivation(
  a: Assembler,
  emit: EmitFunction,
  accumulators: readonly Vector[],
  { free, constants }: Pick<EpilogueContext, 'free' | 'constants'>,
): void {
  const [shared, ...others] = free
  const together = Math.min(accumulators.length, Math.floor(others.length / 3))
  for (let first = 0; first < accumulators.length; first += together) {
    const vectors = accumulators.slice(first, first + together).map((x, i) => ({ x, temporaries: others.slice(3 * i, 3 * i + 3) }))
    emit(a, vectors, shared, constants)
  }
}

function emitNumbers(
  a: Assembler,
  { rows, bias, residual }: Numbers & { readonly residual?: boolean },
  accumulators: readonly Vector[],
  context: EpilogueContext,
  bytes: number,
): void {
  const [row, scale] = context.free
  if (rows) {
    a.vbroadcastss(row, context.rowOffset)
    for (const [v, register] of accumulators.entries()) a.vfmadd231ps(register, row, context.sums.plus(v * bytes))
    a.vbroadcastss(row, context.rowScale)
  }
  for (const [v, register] of accumulators.entries()) {
    if (context.machine.group === 1) {
      if (residual) a.vaddps(register, register, context.residual.plus(v * bytes))
      continue
    }
    const columnScale = context.scale.plus(v * bytes)
    const terms = [...(residual ? [context.residual.plus(v * bytes)] : []), ...(bias ? [context.bias.plus(v * bytes)] : [])]
    if (rows) a.vmulps(scale, row, columnScale)
    else if (terms.length) a.vmovups(scale, columnScale)
    if (terms.length) a.vfmadd213ps(register, scale, terms[0])
    else a.vmulps(register, register, rows ? scale : columnScale)
    if (terms[1]) a.vaddps(register, register, terms[1])
  }
}

/** Numbers times factors, rounded to integers; NaN becomes the lowest. */
function emitIntegers(
  a: Assembler,
  accumulators: readonly Vector[],
  { free, factor, ...context }: EpilogueContext,
  bytes: number,
  bounded = false,
): void {
  const [ceiling] = free
  if (!bounded) a.vbroadcastss(ceiling, at(context.ceiling))
  for (const [v, register] of accumulators.entries()) {
    a.vmulps(register, register, factor.plus(v * bytes))
    if (!bounded) a.vminps(register, ceiling, register)
    a.vcvtps2dq(register, register)
  }
}

/** Integers plus the zero point as bytes, clamped; the vectors' columns are in the order `packed`. */
function emitBytes(a: Assembler, accumulators: readonly Vector[], { free, zeroPoint, high, output }: EpilogueContext): void {
  const [temporary, constant] = free
  a.vpbroadcastw(constant, zeroPoint)
  for (let v = 0; v < accumulators.length; v += 2) {
    a.vpackssdw(accumulators[v], accumulators[v], accumulators[v + 1])
    a.vpaddsw(accumulators[v], accumulators[v], constant)
  }
  const result = narrowed(a, accumulators, temporary)
  const clamp = as(result.kind, constant)
  a.vpbroadcastb(clamp, high)
  a.vpminub(result, result, clamp)
  a.vmovups(output, result)
}

/** Words of all vectors to bytes in one; columns end up in natural order. */
function narrowed(a: Assembler, accumulators: readonly Vector[], temporary: Vector): Vector {
  const [first, , third] = accumulators
  if (third) {
    a.vpackuswb(first, first, third)
    return first
  }
  const [low, high] = [as('xmm', first), as('xmm', temporary)]
  a.vextracti128(high, as('ymm', first), 1)
  a.vpackuswb(low, low, high)
  return low
}
