import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { dotMachines } from '../../../../src/engine/compiled/x64/dot-machine.js'
import type { Epilogue } from '../../../../src/engine/compiled/x64/epilogue.js'
import { processorFeatures } from '../../../../src/engine/compiled/x64/features.node.js'
import { gemm } from '../../../../src/engine/compiled/x64/gemm.js'
import { amxInputMultiple, gemmAmx } from '../../../../src/engine/compiled/x64/gemm-amx.js'
import { addressOf, type MappedCode, mapCode } from '../../../../src/engine/compiled/x64/memory.node.js'
import { productsThatFit, surveyOf } from '../../../../src/engine/compiled/x64/panels.js'
import { GuardedArena } from './arena.js'
import {
  expectedGemm,
  floatEpilogues,
  floatGemmCaseOf,
  type GemmCase,
  gemmCaseOf,
  gemmShapes,
  placeGemm,
  wrongNumbers,
} from './gemm-cases.js'
import { runsHere } from './machine.js'

/** A kernel of the table below: a machine, or tiles. */
type Name = keyof typeof dotMachines | 'amx'

const features = runsHere ? processorFeatures() : undefined
const available: Record<Name, boolean | undefined> = {
  avx2Quads: features?.avx2,
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

function run(name: Name, one: GemmCase, epilogue: Epilogue, inPlace = false): number[] {
  const arena = new GuardedArena()
  try {
    const machine = name === 'amx' ? dotMachines.avx512Vnni : dotMachines[name]
    const inputMultiple = name === 'amx' ? amxInputMultiple : undefined
    const { parameters, read } = placeGemm(arena, machine, one, epilogue, { inPlace, inputMultiple })
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
const limits: Partial<Record<Name, readonly [number, number]>> = { avx2Quads: [127, 64], avx2Bytes: [127, 128] }

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
        checkNear(name, gemmCaseOf(shape, largest, largestCode), epilogue, inPlace)
      }),
      { numRuns: 60 },
    )
  })
})

describe.each(names.filter((name) => name.endsWith('Float')))('product of floats, %s', (name) => {
  it.each(floatEpilogues.filter((epilogue) => !('rows' in epilogue || 'bias' in epilogue)))('is near the reference: %j', (epilogue) => {
    fc.assert(
      fc.property(gemmShapes, fc.boolean(), (shape, inPlace) => {
        checkNear(name, floatGemmCaseOf(shape), epilogue, inPlace)
      }),
      { numRuns: 60 },
    )
  })
})

describe('how many products fit in 16 bits', () => {
  const column = (...codes: number[]) => surveyOf(Int8Array.from(codes), 1)

  it('depends on codes of one sign and the largest activation', () => {
    expect(productsThatFit(column(127, 127), 255)).toBe(1)
    expect(productsThatFit(column(-128, -1), 255)).toBe(1)
    expect(productsThatFit(column(64, 64), 255)).toBe(4)
    expect(productsThatFit(column(127, -127), 255)).toBe(4)
    expect(productsThatFit(column(64, 64, 0, 0, 1, 0, 0, 0), 255)).toBe(2)
    expect(productsThatFit(column(64, 64, 0, 0, 0, 0, 1, 0), 255)).toBe(4)
    expect(productsThatFit(column(127, 127, 127, 127, 4, 0, 0, 4), 127)).toBe(4)
    expect(productsThatFit(column(127, 127, 127, 127, 5, 0, 0, 4), 127)).toBe(2)
  })
})
