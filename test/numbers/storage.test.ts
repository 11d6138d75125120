import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { allocate, type DType, dtypes, storageBytes } from '../../src/numbers/dtype.js'
import { fromCodes, isMinifloat, type Minifloat, roundToMinifloat, toCodes } from '../../src/numbers/minifloat.js'
import { decode, encode, packBits, unpackBits, unpackSignedBits } from '../../src/numbers/storage.js'

const all = Object.keys(dtypes) as DType[]
const minifloats = all.filter(isMinifloat)
const bitsOf = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length)

/** The value of a code from the standard's formula. */
function formula(dtype: Minifloat, code: number): number {
  if (dtype === 'float8e8m0') return code === 255 ? Number.NaN : 2 ** (code - 127)
  const [exponentBits, mantissaBits, bias] = {
    float16: [5, 10, 15],
    bfloat16: [8, 7, 127],
    float8e4m3fn: [4, 3, 7],
    float8e4m3fnuz: [4, 3, 8],
    float8e5m2: [5, 2, 15],
    float8e5m2fnuz: [5, 2, 16],
    float4e2m1: [2, 1, 1],
  }[dtype]
  const sign = code >> (exponentBits + mantissaBits) ? -1 : 1
  const exponent = (code >> mantissaBits) & (2 ** exponentBits - 1)
  const mantissa = code & (2 ** mantissaBits - 1)
  if (dtype.endsWith('fnuz')) {
    if (code === 0x80) return Number.NaN
  } else if (dtype === 'float8e4m3fn') {
    if ((code & 0x7f) === 0x7f) return Number.NaN
  } else if (dtype !== 'float4e2m1' && exponent === 2 ** exponentBits - 1) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return exponent
    ? sign * 2 ** (exponent - bias) * (1 + mantissa / 2 ** mantissaBits)
    : sign * 2 ** (1 - bias) * (mantissa / 2 ** mantissaBits)
}

const codesOf = (dtype: Minifloat) => {
  const count = 2 ** dtypes[dtype].bits
  return count > 256 ? Uint16Array.from({ length: count }, (_, i) => i) : Uint8Array.from({ length: count }, (_, i) => i)
}

describe.each(minifloats)('%s', (dtype) => {
  test('every code has the value of the formula', () => {
    const codes = codesOf(dtype)
    const values = fromCodes(dtype, codes)
    for (let i = 0; i < codes.length; i++)
      if (!Object.is(values[i], formula(dtype, codes[i]))) expect([i, values[i]]).toEqual([i, formula(dtype, codes[i])])
  })

  test('every code survives the way to float32 and back, NaN included', () => {
    const codes = codesOf(dtype)
    expect(toCodes(dtype, fromCodes(dtype, codes), { saturate: false })).toEqual(codes)
  })

  if (dtype !== 'float8e8m0')
    test('rounds to the nearest code, ties to the even one', () => {
      // Midpoints of neighbouring positive numbers and the float32 numbers beside them.
      const half = codesOf(dtype).length / 2
      for (let code = 0; code + 1 < half; code++) {
        const [low, high] = fromCodes(dtype, (dtypes[dtype].bits === 16 ? Uint16Array : Uint8Array).of(code, code + 1))
        if (!Number.isFinite(low) || !Number.isFinite(high)) continue
        const points = Float32Array.of((low + high) / 2, (low + high) / 2, (low + high) / 2, -(low + high) / 2)
        const bits = bitsOf(points)
        bits[1]--
        bits[2]++
        const even = code & 1 ? code + 1 : code
        const negative = dtype.endsWith('fnuz') && even === 0 ? 0 : even + half
        const got = toCodes(dtype, points)
        if (got[0] !== even || got[1] !== code || got[2] !== code + 1 || got[3] !== negative)
          expect([code, ...got]).toEqual([code, even, code, code + 1, negative])
      }
    })

  test('rounding twice is rounding once', () => {
    fc.assert(
      fc.property(fc.float32Array({ noNaN: true, maxLength: 20 }), (values) => {
        const once = roundToMinifloat(dtype, values)
        expect(roundToMinifloat(dtype, once)).toEqual(once)
      }),
    )
  })
})

describe('beyond the range', () => {
  const special = Float32Array.of(1e6, -1e6, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, -1e-7)
  test.each([
    ['float8e4m3fn', true, [0x7e, 0xfe, 0x7e, 0xfe, 0x7f, 0x80]],
    ['float8e4m3fn', false, [0x7f, 0xff, 0x7f, 0xff, 0x7f, 0x80]],
    ['float8e4m3fnuz', true, [0x7f, 0xff, 0x7f, 0xff, 0x80, 0x00]],
    ['float8e4m3fnuz', false, [0x80, 0x80, 0x80, 0x80, 0x80, 0x00]],
    ['float8e5m2', true, [0x7b, 0xfb, 0x7b, 0xfb, 0x7e, 0x80]],
    ['float8e5m2', false, [0x7c, 0xfc, 0x7c, 0xfc, 0x7e, 0x80]],
    ['float8e5m2fnuz', true, [0x7f, 0xff, 0x7f, 0xff, 0x80, 0x00]],
    ['float8e5m2fnuz', false, [0x80, 0x80, 0x80, 0x80, 0x80, 0x00]],
    ['float4e2m1', true, [0x7, 0xf, 0x7, 0xf, 0x8, 0x8]],
    ['float4e2m1', false, [0x7, 0xf, 0x7, 0xf, 0x8, 0x8]],
    ['float16', true, [0x7c00, 0xfc00, 0x7c00, 0xfc00, 0x7e00, 0x8002]],
  ] as const)('%s saturate=%s', (dtype, saturate, expected) => {
    expect([...toCodes(dtype, special, { saturate })]).toEqual(expected)
  })

  test('float16 and bfloat16 overflow from the midpoint on', () => {
    expect([...toCodes('float16', Float32Array.of(65519, 65520, -65520))]).toEqual([0x7bff, 0x7c00, 0xfc00])
    expect([...toCodes('bfloat16', Float32Array.of(3.38e38, 3.4028235e38, -3.4028235e38))]).toEqual([0x7f7e, 0x7f80, 0xff80])
  })

  test('the least NaN of float32 stays NaN', () => {
    const nan = new Float32Array(Uint32Array.of(0x7f800001, 0xff800001).buffer)
    for (const dtype of ['float16', 'bfloat16', 'float8e5m2', 'float8e4m3fn'] as const)
      for (const value of fromCodes(dtype, toCodes(dtype, nan))) expect(value).toBeNaN()
  })
})

describe('float8e8m0', () => {
  const values = Float32Array.of(1, 1.1, 1.5, 1.6, 0.124, 2 ** -127, 1.25 * 2 ** -127, 1.5 * 2 ** -127, 1.9 * 2 ** 127)
  test.each([
    ['up', [127, 128, 128, 128, 124, 0, 1, 1, 254]],
    ['down', [127, 127, 127, 127, 123, 0, 0, 0, 254]],
    ['nearest', [127, 127, 128, 128, 124, 0, 0, 1, 254]],
  ] as const)('%s', (roundMode, expected) => {
    expect([...toCodes('float8e8m0', values, { roundMode })]).toEqual(expected)
  })

  test('zero, infinity, NaN and what is out of range', () => {
    const special = Float32Array.of(0, 2 ** -130, Number.POSITIVE_INFINITY, 1.9 * 2 ** 127, Number.NaN, -1)
    expect([...toCodes('float8e8m0', special)]).toEqual([0, 0, 254, 254, 255, 255])
    expect([...toCodes('float8e8m0', special, { saturate: false })]).toEqual([255, 255, 255, 255, 255, 255])
  })
})

describe('decode and encode', () => {
  test.each(all.filter((dtype) => dtype !== 'string'))('%s: bytes survive, from any offset', (dtype) => {
    fc.assert(
      fc.property(fc.nat(33), fc.nat(7), fc.infiniteStream(fc.nat(255)), (count, offset, stream) => {
        const size = storageBytes(dtype, count)
        const memory = new Uint8Array(size + offset)
        for (let i = 0; i < memory.length; i++) memory[i] = dtype === 'bool' ? stream.next().value & 1 : stream.next().value
        const bytes = memory.subarray(offset)
        const unused = 8 * size - dtypes[dtype].bits * count
        if (unused > 0) bytes[size - 1] &= 255 >> unused
        const elements = decode(dtype, bytes, count)
        expect(elements.constructor).toBe(allocate(dtype, 0).constructor)
        expect(elements.length).toBe(allocate(dtype, count).length)
        expect(encode(dtype, elements, { saturate: false })).toEqual(bytes.slice())
      }),
      { numRuns: 60 },
    )
  })

  test('a Buffer of Node is copied when misaligned and viewed when not', () => {
    const bytes = new Uint8Array(Float32Array.of(1, 2).buffer)
    const buffer = Buffer.from(bytes.buffer)
    expect((decode('float32', buffer, 2) as Float32Array).buffer).toBe(bytes.buffer)
    const shifted = Buffer.from(Uint8Array.of(0, ...bytes).buffer).subarray(1)
    expect(decode('float32', shifted, 2)).toEqual(Float32Array.of(1, 2))
  })

  test('int4 takes the low nibble first', () => {
    expect(decode('int4', Uint8Array.of(0x8f, 0x07), 3)).toEqual(Int8Array.of(-1, -8, 7))
    expect(encode('int4', Int8Array.of(-1, -8, 7))).toEqual(Uint8Array.of(0x8f, 0x07))
    expect(decode('uint2', Uint8Array.of(0b11100100), 4)).toEqual(Uint8Array.of(0, 1, 2, 3))
  })

  test('bool is 0 or 1', () => {
    expect(decode('bool', Uint8Array.of(0, 1, 7), 3)).toEqual(Uint8Array.of(0, 1, 1))
  })

  test('refuses strings, wrong lengths, wrong classes and codes out of range', () => {
    expect(() => decode('string', new Uint8Array(0), 0)).toThrow(/strings have no raw bytes/)
    expect(() => encode('string', ['a'])).toThrow(/strings have no raw bytes/)
    expect(() => decode('float32', new Uint8Array(7), 2)).toThrow(/2 elements of float32 take 8 bytes, not 7/)
    expect(() => encode('float16', Float64Array.of(1))).toThrow(/Float32Array, not in a Float64Array/)
    expect(() => encode('int4', Int8Array.of(7, 8))).toThrow(/element 1 is 8, which int4 cannot hold/)
    expect(() => encode('uint2', Uint8Array.of(3, 4))).toThrow(/element 1 is 4, which uint2 cannot hold/)
  })
})

describe('packing', () => {
  test.each([2, 4, 8])('%s bits: round trips', (bits) => {
    fc.assert(
      fc.property(fc.uint8Array({ max: 2 ** bits - 1, maxLength: 40 }), (codes) => {
        expect(unpackBits(packBits(codes, bits), codes.length, bits)).toEqual(codes)
      }),
    )
    fc.assert(
      fc.property(fc.int8Array({ min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1, maxLength: 40 }), (codes) => {
        expect(unpackSignedBits(packBits(codes, bits), codes.length, bits)).toEqual(codes)
      }),
    )
  })

  test('refuses other widths', () => {
    expect(() => packBits(Uint8Array.of(1), 3)).toThrow(/3 bits/)
    expect(() => unpackBits(Uint8Array.of(1), 1, 5)).toThrow(/5 bits/)
  })
})
