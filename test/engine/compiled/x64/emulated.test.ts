import { describe, expect, it } from 'vitest'
import { blockGemm } from '../../../../src/engine/compiled/x64/block-gemm.js'
import { blockMachines } from '../../../../src/engine/compiled/x64/block-machine.js'
import { type DotMachineName, dotMachines } from '../../../../src/engine/compiled/x64/dot-machine.js'
import type { Epilogue } from '../../../../src/engine/compiled/x64/epilogue.js'
import { gemm } from '../../../../src/engine/compiled/x64/gemm.js'
import { amxInputMultiple, gemmAmx } from '../../../../src/engine/compiled/x64/gemm-amx.js'
import { blockCaseOf, blockEpilogues, blockFormats, placeBlockGemm, wrongOutputs } from './block-gemm-cases.js'
import { EmulatedMachine, emulator } from './emulator.js'
import {
  expectedGemm,
  floatEpilogues,
  floatGemmCaseOf,
  type GemmCase,
  type GemmShape,
  gemmCaseOf,
  partsOfEpilogue,
  placeGemm,
  wrongNumbers,
} from './gemm-cases.js'

/** Shapes with tails of every kind: rows beyond a tile, inputs beyond a step, outputs beside a panel; several tiles of several steps. */
const shapes: GemmShape[] = [
  [1, 1, 1],
  [6, 64, 64],
  [13, 70, 130],
  [16, 128, 65],
  [33, 61, 128],
  [40, 130, 17],
].map(([rows, inputs, outputs], seed) => ({ seed, rows, inputs, outputs, gap: 3 * (seed % 3) }))

const blockShapes = [
  [1, 1, 1],
  [4, 2, 16],
  [7, 3, 37],
].map(([rows, blocks, outputs], seed) => ({ seed, rows, blocks, outputs, gap: (seed % 2 ? 16 : 0) as 0 | 16 }))

describe.skipIf(!emulator)('kernels on an emulated processor (skipped without TINSMITH_BOCHS)', () => {
  type Name = DotMachineName | 'amx'

  /** Runs all shapes, as many in one boot as there is memory for, and compares each with the reference. */
  function check(name: Name, epilogue: Epilogue, caseOf: (shape: GemmShape, parts: 1 | 2) => GemmCase, cpu: string, inPlace = false): void {
    const parts = partsOfEpilogue(epilogue)
    const count = shapes.length / parts
    for (let part = 0; part < parts; part++) {
      const cases = shapes.slice(part * count, (part + 1) * count).map((shape) => caseOf(shape, parts))
      checkCases(cases, name, epilogue, cpu, inPlace)
    }
  }

  function checkCases(cases: readonly GemmCase[], name: Name, epilogue: Epilogue, cpu: string, inPlace: boolean): void {
    const machine = new EmulatedMachine()
    const code = machine.placeBytes(name === 'amx' ? gemmAmx(epilogue) : gemm(dotMachines[name], epilogue))
    const reads = cases.map((one) => {
      const inputMultiple = name === 'amx' ? amxInputMultiple : undefined
      const dotMachine = dotMachines[name === 'amx' ? 'avx512Vnni' : name]
      const { parameters, read } = placeGemm(machine, dotMachine, one, epilogue, { inPlace, inputMultiple })
      machine.call(code, parameters)
      return read
    })
    machine.run(cpu)
    for (const [i, one] of cases.entries()) {
      const got = reads[i]()
      if (epilogue.kind === 'f32' || epilogue.kind === 'codes') expect(wrongNumbers(one, epilogue, got)).toEqual([])
      else expect(got).toEqual(expectedGemm(one, epilogue))
    }
  }

  /** Models of Bochs that have the instructions. */
  const models: Record<string, string> = {
    avxVnni: 'arrow_lake',
    avx512Vnni: 'sapphire_rapids',
    avx512Float: 'sapphire_rapids',
    amx: 'sapphire_rapids',
  }
  const bytes = (shape: GemmShape, parts: 1 | 2) => gemmCaseOf(shape, 255, 128, parts)

  describe.each(['avxVnni', 'avx512Vnni', 'amx'] as const)('%s', (name) => {
    it.each([{ kind: 's32' } as const, ...floatEpilogues])('%j', (epilogue) => check(name, epilogue, bytes, models[name]))
    it('into the residual', () => check(name, { kind: 'f32', residual: true }, bytes, models[name], true))
  })

  it.each(floatEpilogues.filter((epilogue) => !('rows' in epilogue || 'bias' in epilogue)))('avx512Float, %j', (epilogue) =>
    check('avx512Float', epilogue, floatGemmCaseOf, models['avx512Float']),
  )

  describe.each(['avxVnni', 'avx512Vnni'] as const)('block weights, %s', (name) => {
    it.each(blockFormats)('%j', (format) => {
      const emulated = new EmulatedMachine()
      const calls = blockEpilogues.flatMap((epilogue) => {
        const code = emulated.placeBytes(blockGemm(blockMachines[name], format, epilogue))
        return blockShapes.map((shape) => {
          const one = blockCaseOf(shape, format, epilogue)
          const { parameters, read } = placeBlockGemm(emulated, blockMachines[name], one)
          emulated.call(code, parameters)
          return { one, read }
        })
      })
      emulated.run(models[name])
      for (const { one, read } of calls) expect(wrongOutputs(one, read())).toEqual([])
    })
  })
})
