import type { Assembler } from './assembler.js'
import { k, Memory, type Vector } from './operands.js'
import type { VectorConstants, VectorMachine } from './vector-machine.js'

/** Where the operand of an operator is. */
export type Place = Vector | Memory

/** What an operator works with; its registers hold none of its operands. */
export interface OperatorContext {
  readonly a: Assembler
  readonly machine: VectorMachine
  readonly constants: VectorConstants
  readonly to: Vector
  readonly temporaries: readonly [Vector, Vector]
}

/** An operator on vectors of float32; truth values are all bits or none. */
export interface ElementwiseOperator {
  readonly inputs: number
  emit(context: OperatorContext, operands: readonly Place[]): void
}

/** Predicates of comparisons. Source: Intel Software Developer's Manual, volume 2, CMPPS. */
const predicates = { equal: 0x00, equalOrUnordered: 0x08, less: 0x11, lessOrEqual: 0x12, greaterOrEqual: 0x1d, greater: 0x1e } as const

const signBit = -(2 ** 31)

/** Rounding to the nearest integer, ties to the even one. Source: the same, ROUNDPS and VRNDSCALEPS. */
const nearestEven = 0

/** The operators that {@link elementwiseKernel} knows, each with the rounding and the special cases of its reference evaluation. */
export const elementwiseOperators: Readonly<Record<string, ElementwiseOperator>> = {
  Add: arithmetic('vaddps'),
  Sub: arithmetic('vsubps'),
  Mul: arithmetic('vmulps'),
  Div: arithmetic('vdivps'),
  Max: extreme('vmaxps'),
  Min: extreme('vminps'),
  Equal: comparison('equal'),
  Less: comparison('less'),
  LessOrEqual: comparison('lessOrEqual'),
  Greater: comparison('greater'),
  GreaterOrEqual: comparison('greaterOrEqual'),
  Neg: unary(({ a, constants, to }, x) => a.vxorps(to, inRegister(a, x, to), constants.word(signBit))),
  Abs: unary(({ a, constants, to }, x) => a.vandps(to, inRegister(a, x, to), constants.word(~signBit))),
  Sqrt: unary(({ a, to }, x) => a.vsqrtps(to, x)),
  Round: unary(({ a, machine, to }, x) => (machine.name === 'avx512' ? a.vrndscaleps(to, x, nearestEven) : a.vroundps(to, x, nearestEven))),
  And: { inputs: 2, emit: ({ a, to }, [x, y]) => a.vandps(to, inRegister(a, x, to), y) },
  Reciprocal: unary(({ a, constants, to }, x) => {
    a.vmovups(to, constants.float(1))
    a.vdivps(to, to, x)
  }),
  Sign: unary((context, place) => {
    const { a, constants, to, temporaries } = context
    const x = inRegister(a, place, temporaries[0])
    a.vandps(to, x, constants.word(signBit))
    a.vorps(to, to, constants.float(1))
    emitComparison(context, 'equalOrUnordered', temporaries[1], x, constants.float(0))
    emitSelection(context, temporaries[1], x, to)
  }),
  Where: {
    inputs: 3,
    emit(context, [condition, left, right]) {
      const { a, to, temporaries } = context
      emitSelection(context, inRegister(a, condition, temporaries[0]), left, inRegister(a, right, to))
    },
  },
}

/** An operator of one operand. */
export function unary(emit: (context: OperatorContext, x: Place) => void): ElementwiseOperator {
  return { inputs: 1, emit: (context, [x]) => emit(context, x) }
}

function arithmetic(instruction: 'vaddps' | 'vsubps' | 'vmulps' | 'vdivps'): ElementwiseOperator {
  return { inputs: 2, emit: ({ a, to }, [x, y]) => a[instruction](to, inRegister(a, x, to), y) }
}

/**
 * The processor gives the second operand when one is NaN or both are zeros, so both orders are taken. Where they differ, a bit of
 * either makes NaN, or the zero of the smaller sign; of the larger one after the difference has been subtracted.
 */
function extreme(instruction: 'vmaxps' | 'vminps'): ElementwiseOperator {
  return {
    inputs: 2,
    emit({ a, to, temporaries: [first, second] }, operands) {
      const [x, y] = [inRegister(a, operands[0], first), inRegister(a, operands[1], second)]
      a[instruction](to, x, y)
      a[instruction](first, y, x)
      if (instruction === 'vmaxps') a.vxorps(first, first, to)
      a.vorps(to, to, first)
      if (instruction === 'vmaxps') a.vsubps(to, to, first)
    },
  }
}

function comparison(predicate: keyof typeof predicates): ElementwiseOperator {
  return {
    inputs: 2,
    emit: (context, [x, y]) => emitComparison(context, predicate, context.to, inRegister(context.a, x, context.temporaries[0]), y),
  }
}

/** Sets all bits of the lanes of `to` where the predicate holds, none elsewhere. */
export function emitComparison({ a, machine }: OperatorContext, predicate: keyof typeof predicates, to: Vector, x: Vector, y: Place): void {
  if (machine.name === 'avx512') {
    a.vcmpps(k[1], x, y, predicates[predicate])
    a.vpternlogd(to.zeroed(k[1]), to, to, 0xff)
  } else a.vcmpps(to, x, y, predicates[predicate])
}

/** `to = condition ? left : right` */
export function emitSelection({ a, machine, to }: OperatorContext, condition: Vector, left: Place, right: Vector): void {
  if (machine.name === 'avx512') {
    a.vpmovd2m(k[1], condition)
    if (right !== to) a.vmovups(to, right)
    a.vmovups(to.masked(k[1]), left)
  } else a.vblendvps(to, right, left, condition)
}

/** The place itself where it is a register, else the register, loaded from it. */
export function inRegister(a: Assembler, place: Place, register: Vector): Vector {
  if (!(place instanceof Memory)) return place
  a.vmovups(register, place)
  return register
}
