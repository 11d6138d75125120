import type { FunctionBuilder } from './function.js'
import { f32x4, type Value, v128 } from './values.js'

type Vector = Value<'v128'>

/** An operator on four float32; truth values are all bits or none. */
export interface ElementwiseOperator {
  readonly inputs: number
  /** @param operands may be read more than once */
  emit(f: FunctionBuilder, operands: readonly Vector[]): Vector
}

/** The operators that loops over flat memory know, each with the rounding and the special cases of its reference evaluation. */
export const elementwiseOperators: Readonly<Record<string, ElementwiseOperator>> = {
  Add: binary(f32x4.add),
  Sub: binary(f32x4.sub),
  Mul: binary(f32x4.mul),
  Div: binary(f32x4.div),
  Max: binary(f32x4.max),
  Min: binary(f32x4.min),
  Equal: binary(f32x4.eq),
  Less: binary(f32x4.lt),
  LessOrEqual: binary(f32x4.le),
  Greater: binary(f32x4.gt),
  GreaterOrEqual: binary(f32x4.ge),
  Neg: unary((_, x) => f32x4.neg(x)),
  Abs: unary((_, x) => f32x4.abs(x)),
  Sqrt: unary((_, x) => f32x4.sqrt(x)),
  Round: unary((_, x) => f32x4.nearest(x)),
  And: binary(v128.and),
  Reciprocal: unary((f, x) => f32x4.div(f.floats(1), x)),
  Sign: unary((f, x) => {
    const one = v128.or(v128.and(x, f.floats(-0)), f.floats(1))
    const isSigned = f32x4.gt(f32x4.abs(x), f.floats(0))
    return v128.bitselect(one, x, isSigned)
  }),
  Where: { inputs: 3, emit: (_, [condition, left, right]) => v128.bitselect(left, right, condition) },
}

function unary(emit: (f: FunctionBuilder, x: Vector) => Vector): ElementwiseOperator {
  return { inputs: 1, emit: (f, [x]) => emit(f, x) }
}

function binary(instruction: (x: Vector, y: Vector) => Vector): ElementwiseOperator {
  return { inputs: 2, emit: (_, [x, y]) => instruction(x, y) }
}
