import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { int, string } from '../../src/ir/attribute.js'
import { type DType, dtypes, ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { erf } from '../../src/ops/special.js'
import { numbers } from './call.js'
import { reference } from './reference.js'

const integerTypes: readonly DType[] = ['int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'int64', 'uint64', 'int4', 'uint4']

function modulo(x: bigint, dtype: DType): bigint {
  const { bits, kind } = dtypes[dtype]
  return kind === 'int' ? BigInt.asIntN(bits, x) : BigInt.asUintN(bits, x)
}

function integersOf(dtype: DType): fc.Arbitrary<bigint> {
  const { bits, kind } = dtypes[dtype]
  const [min, max] = kind === 'int' ? [-(1n << BigInt(bits - 1)), (1n << BigInt(bits - 1)) - 1n] : [0n, (1n << BigInt(bits)) - 1n]
  return fc.bigInt({ min, max })
}

const typedPair = fc.constantFrom(...integerTypes).chain((dtype) => fc.tuple(fc.constant(dtype), integersOf(dtype), integersOf(dtype)))

/** One operator on two integers. */
function calculate(operator: string, dtype: DType, x: bigint, y: bigint, attributes = {}): bigint {
  const [result] = reference(operator, [ndarray(dtype, [1], [x]), ndarray(dtype, [1], [y])], attributes)
  return BigInt(result.data[0])
}

describe('integer arithmetic', () => {
  test('addition, subtraction and multiplication wrap around', () => {
    fc.assert(
      fc.property(typedPair, ([dtype, x, y]) => {
        expect(calculate('Add', dtype, x, y)).toBe(modulo(x + y, dtype))
        expect(calculate('Sub', dtype, x, y)).toBe(modulo(x - y, dtype))
        expect(calculate('Mul', dtype, x, y)).toBe(modulo(x * y, dtype))
      }),
    )
  })

  test('x = (x / y) * y + fmod(x, y), and Mod has the sign of the divisor', () => {
    fc.assert(
      fc.property(typedPair, ([dtype, x, y]) => {
        fc.pre(y !== 0n)
        const truncated = calculate('Div', dtype, x, y) * y + calculate('Mod', dtype, x, y, { fmod: int(1) })
        expect(modulo(truncated, dtype)).toBe(x)
        const rest = calculate('Mod', dtype, x, y)
        expect((x - rest) % y).toBe(0n)
        expect(rest === 0n || rest > 0n === y > 0n).toBe(true)
      }),
    )
  })

  test('bitwise operators obey De Morgan', () => {
    fc.assert(
      fc.property(typedPair, ([dtype, x, y]) => {
        const not = (a: bigint) => BigInt(reference('BitwiseNot', [ndarray(dtype, [1], [a])])[0].data[0])
        expect(not(calculate('BitwiseAnd', dtype, x, y))).toBe(calculate('BitwiseOr', dtype, not(x), not(y)))
        expect(calculate('BitwiseXor', dtype, x, y)).toBe(
          calculate('Sub', dtype, calculate('BitwiseOr', dtype, x, y), calculate('BitwiseAnd', dtype, x, y)),
        )
      }),
    )
  })

  test('shifts multiply and divide by powers of two; far ones leave the sign', () => {
    const shift = (direction: string, dtype: DType, x: bigint, y: bigint) =>
      calculate('BitShift', dtype, x, y, { direction: string(direction) })
    fc.assert(
      fc.property(integersOf('int32'), fc.integer({ min: 0, max: 31 }), (x, y) => {
        expect(shift('LEFT', 'int32', x, BigInt(y))).toBe(modulo(x * 2n ** BigInt(y), 'int32'))
        expect(shift('RIGHT', 'int32', x, BigInt(y))).toBe(BigInt(Number(x) >> y))
      }),
    )
    expect(shift('RIGHT', 'int8', -5n, 100n)).toBe(-1n)
    expect(shift('RIGHT', 'int8', -5n, -1n)).toBe(-1n)
    expect(shift('LEFT', 'uint8', 255n, 8n)).toBe(0n)
  })

  test('64-bit integers lose nothing', () => {
    expect(calculate('Add', 'int64', 2n ** 62n, 2n ** 62n - 1n)).toBe(2n ** 63n - 1n)
    expect(calculate('Max', 'int64', 2n ** 53n, 2n ** 53n + 1n)).toBe(2n ** 53n + 1n)
  })
})

describe('real functions', () => {
  const inverses: [string, string, number, number][] = [
    ['Exp', 'Log', -5, 5],
    ['Sin', 'Asin', -1.5, 1.5],
    ['Cos', 'Acos', 0.1, 3],
    ['Tan', 'Atan', -1.5, 1.5],
    ['Sinh', 'Asinh', -5, 5],
    ['Cosh', 'Acosh', 0.1, 5],
    ['Neg', 'Neg', -9, 9],
    ['Reciprocal', 'Reciprocal', 0.1, 9],
  ]

  test.each(inverses)('%s and %s undo each other', (there, back, min, max) => {
    const x = Float64Array.from({ length: 41 }, (_, i) => min + ((max - min) * i) / 40)
    const [y] = reference(there, [ndarray('float64', [41], x)])
    const [again] = reference(back, [y])
    numbersOf(again).forEach((value, i) => {
      expect(value).toBeCloseTo(x[i], 10)
    })
  })

  test('erf: odd, by its derivative, and at known points', () => {
    expect(erf(0)).toBe(0)
    expect(erf(1)).toBeCloseTo(0.8427007929497149, 15)
    expect(erf(3.5)).toBeCloseTo(0.9999992569016276, 15)
    expect(erf(Infinity)).toBe(1)
    for (let x = -4; x <= 4; x += 0.25) {
      expect(erf(-x)).toBeCloseTo(-erf(x), 15)
      expect((erf(x + 1e-5) - erf(x - 1e-5)) / 2e-5).toBeCloseTo((2 / Math.sqrt(Math.PI)) * Math.exp(-x * x), 8)
    }
  })

  test('Mod of floats keeps the signs that the standard asks for', () => {
    const mod = (x: number, y: number) => reference('Mod', [numbers('float32', [], [x]), numbers('float32', [], [y])])[0].data[0]
    expect(mod(-3, 2)).toBe(1)
    expect(mod(3, -2)).toBe(-1)
    expect(mod(0, -2)).toBe(-0)
    expect(mod(3, Infinity)).toBe(3)
    expect(mod(3, -Infinity)).toBe(-Infinity)
    expect(mod(3, 0)).toBeNaN()
  })

  test('Min, Max and Clip agree', () => {
    fc.assert(
      fc.property(
        fc.array(fc.float({ noNaN: true }), { minLength: 1, maxLength: 8 }),
        fc.float({ noNaN: true }),
        fc.float({ noNaN: true }),
        (x, low, high) => {
          const array = numbers('float32', [x.length], x)
          const [min, max] = [numbers('float32', [], [low]), numbers('float32', [], [high])]
          const [raised] = reference('Max', [array, min])
          const [expected] = reference('Min', [raised, max])
          expect(Array.from(numbersOf(reference('Clip', [array, min, max])[0]), (v) => v + 0)).toEqual(
            Array.from(numbersOf(expected), (v) => v + 0),
          )
        },
      ),
    )
  })
})

describe('broadcasting', () => {
  test('both sides grow', () => {
    const [sum] = reference('Add', [numbers('int32', [2, 1], [10, 20]), numbers('int32', [3], [1, 2, 3])])
    expect(sum.shape).toEqual([2, 3])
    expect(Array.from(numbersOf(sum))).toEqual([11, 12, 13, 21, 22, 23])
  })

  test('clashing shapes and dtypes are refused', () => {
    const call = (a: readonly number[], b: readonly number[]) =>
      reference('Add', [numbers('int32', a, new Array(6).fill(1)), numbers('int32', b, new Array(6).fill(1))])
    expect(() => call([2, 3], [3, 2])).toThrow(/do not broadcast/)
    expect(() => reference('Add', [numbers('int32', [1], [1]), numbers('float32', [1], [1])])).toThrow(/one dtype/)
  })
})

describe('choosing', () => {
  test('Where takes from both sides, strings too', () => {
    const condition = numbers('bool', [3], [1, 0, 1])
    const [chosen] = reference('Where', [
      condition,
      { dtype: 'string', shape: [3], data: ['a', 'b', 'c'] },
      { dtype: 'string', shape: [1], data: ['-'] },
    ])
    expect(chosen.data).toEqual(['a', '-', 'c'])
  })

  test('a <= b is not a > b', () => {
    fc.assert(
      fc.property(typedPair, ([dtype, x, y]) => {
        expect(calculate('LessOrEqual', dtype, x, y)).toBe(1n - calculate('Greater', dtype, x, y))
        expect(calculate('Equal', dtype, x, y)).toBe(BigInt(x === y))
      }),
    )
  })
})
