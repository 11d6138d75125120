import { describe, expect, it } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import { sumLanes } from '../../../../src/engine/compiled/flat-kernels.js'
import { processorFeatures } from '../../../../src/engine/compiled/x64/features.node.js'
import { addressOf, mapCode } from '../../../../src/engine/compiled/x64/memory.node.js'
import { sumOfSquares, sumOfSquaresParameters } from '../../../../src/engine/compiled/x64/sum-of-squares.js'
import { chooseVectorMachine, vectorMachines } from '../../../../src/engine/compiled/x64/vector-machine.js'
import { type Arena, GuardedArena, numbersIn } from './arena.js'
import { EmulatedMachine, emulator } from './emulator.js'
import { runsHere } from './machine.js'

const machine = runsHere ? chooseVectorMachine(processorFeatures()) : undefined
const lengths = [0, 1, 7, 15, 16, 17, 40, 64, 1001]
const numbers = (length: number) => new Random(length).normals(length).map((x, i) => x * 2 ** ((i % 90) - 45))

/** Element i belongs to sum i modulo 16. */
function expectedSums(length: number): Float64Array {
  const sums = new Float64Array(sumLanes)
  for (const [i, x] of numbers(length).entries()) sums[i % sumLanes] += x * x
  return sums
}

/** The numbers at the very end of their place. */
function placeCall(arena: Arena, length: number) {
  const input = arena.place(Math.max(1, Math.ceil(length / 16)) * 64)
  const offset = input.bytes.length - 4 * length
  numbersIn({ address: input.address, bytes: input.bytes.subarray(offset) }, Float32Array, length).set(numbers(length))
  const sums = arena.place(sumLanes * 8)
  const parameters = sumOfSquaresParameters.block({ input: input.address + BigInt(offset), count: length, sums: sums.address })
  return { parameters, read: () => numbersIn(sums, Float64Array, sumLanes).slice() }
}

describe.skipIf(!machine)('sums of squares (skipped without AVX2)', () => {
  it.each(lengths)('%i elements, between pages that must not be touched', (length) => {
    const arena = new GuardedArena()
    const code = mapCode(sumOfSquares(machine!))
    const { parameters, read } = placeCall(arena, length)
    code.call(addressOf(parameters))
    expect(read()).toEqual(expectedSums(length))
    code.release()
    arena.release()
  })
})

describe.skipIf(!emulator)('sums of squares on an emulated processor (skipped without TINSMITH_BOCHS)', () => {
  it.each(['avx2', 'avx512'] as const)('%s', (name) => {
    const emulated = new EmulatedMachine()
    const code = emulated.placeBytes(sumOfSquares(vectorMachines[name]))
    const calls = lengths.map((length) => {
      const { parameters, read } = placeCall(emulated, length)
      emulated.call(code, parameters)
      return read
    })
    emulated.run('sapphire_rapids')
    for (const [i, length] of lengths.entries()) expect(calls[i]()).toEqual(expectedSums(length))
  })
})
