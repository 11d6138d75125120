import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { dotMachines } from '../../../../src/engine/compiled/x64/dot-machine.js'
import type { Epilogue } from '../../../../src/engine/compiled/x64/epilogue.js'
import { processorFeatures } from '../../../../src/engine/compiled/x64/features.node.js'
import { gemm } from '../../../../src/engine/compiled/x64/gemm.js'
import { amxInputMultiple, gemmAmx } from '../../../../src/engine/compiled/x64/gemm-amx.js'
import { addressOf, type MappedCode, mapCode } from '../../../../src/engine/compiled/x64/memory.node.js'
import { pairsFit, surveyOf } from '../../../../src/engine/compiled/x64/panels.js'
import { GuardedArena } from './arena.js'
import {
  expectedGemm,
  floatEpilogues,
  floatGemmCaseOf,
  type GemmCase,
  gemmCaseOf,
  gemmShapes,
  partsOfEpilogue,
  placeGemm,
  wrongNumbers,
} from './gemm-cases.js'
import { runsHere } from './machine.js'

/** A kernel of the table below: a machine, or tiles. */
type Name = keyof typeof dotMachines | 'amx'

const features = runsHere ? processorFeatures() : undefined
const available: Record<Name, boolean | undefined> = {
  avx2Couples: features?.avx2,
  avx2Bytes: features?.avx2,
  avx2Words: features?.avx2,
  avxVnni: features?.avxVnni,
  avx512Vnni: features?.avx512Vnni,
  avx2Float: features?.avx2,
  avx512Float: features?.avx512,
  amx: features?.amxInt8,
}
const names = (Object.keys(available) as Name[]).filter((name) => available[name])
const compiled = new Map<string, MappedCode>()
afterAll(() => {
  for (const code of compiled.values()) code.release()
})

function compile(name: Name, epilogue: Epilogue): MappedCode {
  const key = name + JSON.stringify(epilogue)
  const code = compiled.get(key) ?? mapCode(name === 'amx' ? gemmAmx(epilogue) : gemm(dotMachines[name], epilogue))
  compiled.set(key, code)
  return code
}

function run(name: Name, one: GemmCase, epilogue: Epilogue, inPlace = false, highest = limits[name]?.[0]): number[] {
  const arena = new GuardedArena()
  try {
    const machine = name === 'amx' ? dotMachines.avx512Vnni : dotMachines[name]
    const inputMultiple = name === 'amx' ? amxInputMultiple : undefined
    const { parameters, read } = placeGemm(arena, machine, one, epilogue, { inPlace, inputMultiple, highest })
    compile(name, epilogue).call(addressOf(parameters))
    return read()
  } finally {
    arena.release()
  }
}

function checkNear(name: Name, one: GemmCase, epilogue: Epilogue, inPlace: boolean): void {
  expect(wrongNumbers(one, epilogue, run(name, one, epilogue, inPlace && 'residual' in epilogue))).toEqual([])
}

/** Largest activation and code with which all products fit. */
const limits: Partial<Record<Name, readonly [number, number]>> = { avx2Couples: [127, 128], avx2Bytes: [127, 128] }

describe.each(names.filter((name) => !name.endsWith('Float')))('product of bytes, %s', (name) => {
  const [largest, largestCode] = limits[name] ?? [255, 128]

  it('equals the reference bit for bit', () => {
    fc.assert(
      fc.property(gemmShapes, (shape) => {
        const one = gemmCaseOf(shape, largest, largestCode)
        expect(run(name, one, { kind: 's32' })).toEqual(expectedGemm(one, { kind: 's32' }))
      }),
      { numRuns: 150 },
    )
  })

  it.each(floatEpilogues)('is near the reference: %j', (epilogue) => {
    fc.assert(
      fc.property(gemmShapes, fc.boolean(), (shape, inPlace) => {
        checkNear(name, gemmCaseOf(shape, largest, largestCode, partsOfEpilogue(epilogue)), epilogue, inPlace)
      }),
      { numRuns: 60 },
    )
  })
})

describe.skipIf(!available.avx2Couples)('couples of groups (skipped without AVX2)', () => {
  it.each([
    [255, 0],
    [255, 16],
    [255, 40],
    [255, 64],
    [127, 64],
    [127, 100],
  ])('equal the reference bit for bit, activations up to %d, codes up to %d', (largest, largestCode) => {
    fc.assert(
      fc.property(gemmShapes, fc.integer({ min: 1, max: 700 }), (shape, inputs) => {
        const one = gemmCaseOf({ ...shape, inputs }, largest, largestCode)
        expect(run('avx2Couples', one, { kind: 's32' }, false, largest)).toEqual(expectedGemm(one, { kind: 's32' }))
      }),
      { numRuns: 40 },
    )
  })
})

describe.each(names.filter((name) => name.endsWith('Float')))('product of floats, %s', (name) => {
  it.each(floatEpilogues.filter((epilogue) => !('rows' in epilogue || 'bias' in epilogue)))('is near the reference: %j', (epilogue) => {
    fc.assert(
      fc.property(gemmShapes, fc.boolean(), (shape, inPlace) => {
        checkNear(name, floatGemmCaseOf(shape, partsOfEpilogue(epilogue)), epilogue, inPlace)
      }),
      { numRuns: 60 },
    )
  })
})

describe('two products', () => {
  const column = (...codes: number[]) => surveyOf(Int8Array.from(codes), 1)

  it('fit in 16 bits or not, as their codes and the largest activation say', () => {
    expect(pairsFit(column(127, 127), 255)).toBe(false)
    expect(pairsFit(column(-128, -1), 255)).toBe(false)
    expect(pairsFit(column(64, 64), 255)).toBe(true)
    expect(pairsFit(column(127, -127), 255)).toBe(true)
    expect(pairsFit(column(0, 64, 65), 255)).toBe(true)
    expect(pairsFit(column(127, 127, -128, -128), 127)).toBe(true)
  })
})
