import type { Node, Value } from '../ir/node.js'

/** The elements of a constant that lies in memory, as numbers. */
export function elementsOf(value: Value | null | undefined): number[] | null {
  const elements = value?.tensor?.elements
  return elements ? Array.from(elements as ArrayLike<number | bigint>, Number) : null
}

/** The number that a constant of one element holds. */
export function scalarOf(value: Value | null | undefined): number | undefined {
  return value?.tensor?.size === 1 ? elementsOf(value)?.[0] : undefined
}

/** Whether a constant of one element is a number, up to the rounding of half precision. */
export function isScalar(value: Value | null | undefined, wanted: number): boolean {
  const found = scalarOf(value)
  return found !== undefined && Math.abs(found - wanted) <= 1e-3 * Math.abs(wanted)
}

/** The other operand of an operator with two, where one is the given value; null where both are. */
export function otherOperand(node: Node | null, value: Value | null): Value | null {
  const [a, b] = [node?.input(0) ?? null, node?.input(1) ?? null]
  if (a === b) return null
  return a === value ? b : b === value ? a : null
}

/** The operands of a commutative operator of that type, in both orders. */
export function operandsOf(value: Value | null, type: string): [Value, Value][] {
  const node = value?.producer?.type === type ? value.producer : null
  const [a, b] = [node?.input(0), node?.input(1)]
  return a && b
    ? [
        [a, b],
        [b, a],
      ]
    : []
}

/** The operand that a scalar constant is added to or multiplied with. */
export function besideScalar(value: Value | null, type: string, scalar: number): Value | null {
  return operandsOf(value, type).find(([, constant]) => isScalar(constant, scalar))?.[0] ?? null
}
