import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import { assembler } from '../../../../src/engine/compiled/x64/assembler.js'
import { chooseFloatMachine, type DotMachine, dotMachines, panelColumns } from '../../../../src/engine/compiled/x64/dot-machine.js'
import { processorFeatures } from '../../../../src/engine/compiled/x64/features.node.js'
import { type Blocks, productParameters, scratchBytes, usualBlocks } from '../../../../src/engine/compiled/x64/matrix-blocks.js'
import { matrixProduct, type ProductForm } from '../../../../src/engine/compiled/x64/matrix-product.js'
import { addressOf, type MappedCode, mapCode } from '../../../../src/engine/compiled/x64/memory.node.js'
import { at, rax, rdi, rsi } from '../../../../src/engine/compiled/x64/operands.js'
import { type Arena, GuardedArena } from './arena.js'
import { EmulatedMachine, emulator } from './emulator.js'
import { runsHere } from './machine.js'

const machine = runsHere ? chooseFloatMachine(processorFeatures()) : undefined

/** So that products of few elements have many blocks. */
const small: Blocks = { inputs: 8, rows: 12, columns: 64 }

interface Product extends ProductForm {
  readonly rows: number
  readonly columns: number
  readonly inputs: number
  readonly hasBias: boolean
  readonly tasks: number
  readonly seed: number
}

/** A kernel of two arguments, called with words: the parameters, then the number of the task and the code. */
function withTask(): Uint8Array {
  const a = assembler()
  const count = productParameters.names.length
  a.mov(rsi, at(rdi, 8 * count))
  a.mov(rax, at(rdi, 8 * (count + 1)))
  a.jmp(rax)
  return a.code()
}

/** A product's matrices, placed so that what follows the last element must not be touched, and what to call for each task. */
function placeProduct(arena: Arena, machine: DotMachine, product: Product, blocks: Blocks, placeCode: (code: Uint8Array) => bigint) {
  const { rows, columns, inputs, transposedLeft, transposedRight, hasBias, tasks, seed } = product
  const random = new Random(seed)
  const place = (count: number, next: () => number) => {
    const whole = arena.place(Math.ceil(count / 16) * 64)
    const skipped = whole.bytes.length - 4 * count
    const floats = new Float32Array(whole.bytes.buffer as ArrayBuffer, whole.bytes.byteOffset + skipped, count)
    for (const i of floats.keys()) floats[i] = next()
    return { address: whole.address + BigInt(skipped), floats }
  }
  const [left, right, bias] = [rows * inputs, inputs * columns, columns].map((count) => place(count, () => random.normal()))
  const output = place(rows * columns, () => Number.NaN)
  const share = (size: number, unit: number) => Math.ceil(size / tasks / unit) * unit
  const parameters = productParameters.block({
    left: left.address,
    leftStride: 4 * (transposedLeft ? rows : inputs),
    right: right.address,
    rightStride: 4 * (transposedRight ? inputs : columns),
    output: output.address,
    outputStride: 4 * columns,
    bias: hasBias ? bias.address : 0,
    rows,
    columns,
    inputs,
    scratch: arena.place(scratchBytes(blocks)).address,
    taken: arena.place(64).address,
    slots: 1,
    rowsOfTask: tasks > 1 && rows >= columns ? share(rows, machine.rows) : 0,
    columnsOfTask: tasks > 1 && rows < columns ? share(columns, panelColumns(machine)) : 0,
  })
  const code = placeCode(matrixProduct(machine, product, blocks))
  const calls = Array.from({ length: tasks }, (_, task) => BigInt64Array.from([...parameters, BigInt(task), code]))
  return { calls, left: left.floats, right: right.floats, bias: bias.floats, output: output.floats }
}

/** Each of the inputs is rounded once as it is added: Higham 2002, section 3.1. */
function expectRight(product: Product, { left, right, bias, output }: Omit<ReturnType<typeof placeProduct>, 'calls'>): void {
  const { rows, columns, inputs, transposedLeft, transposedRight, hasBias } = product
  for (let m = 0; m < rows; m++)
    for (let n = 0; n < columns; n++) {
      let [sum, size] = hasBias ? [bias[n], Math.abs(bias[n])] : [0, 0]
      for (let k = 0; k < inputs; k++) {
        const term = left[transposedLeft ? k * rows + m : m * inputs + k] * right[transposedRight ? n * inputs + k : k * columns + n]
        sum += term
        size += Math.abs(term)
      }
      const error = Math.abs(output[m * columns + n] - sum)
      if (!(error <= 2 ** -24 * (inputs + 1) * size)) expect.fail(`row ${m}, column ${n} is off by ${error}`)
    }
}

function check(product: Product, blocks: Blocks): void {
  const arena = new GuardedArena()
  const codes: MappedCode[] = []
  const placeCode = (code: Uint8Array) => codes[codes.push(mapCode(code)) - 1].address
  const placed = placeProduct(arena, machine!, product, blocks, placeCode)
  const caller = mapCode(withTask())
  for (const words of placed.calls) caller.call(addressOf(words))
  expectRight(product, placed)
  for (const code of [...codes, caller]) code.release()
  arena.release()
}

describe.skipIf(!machine)('matrix products as machine code (skipped without AVX2)', () => {
  const sizes = {
    rows: fc.integer({ min: 1, max: 40 }),
    columns: fc.integer({ min: 1, max: 150 }),
    inputs: fc.integer({ min: 1, max: 40 }),
  }
  const rest = {
    transposedLeft: fc.boolean(),
    transposedRight: fc.boolean(),
    hasBias: fc.boolean(),
    tasks: fc.integer({ min: 1, max: 4 }),
    seed: fc.integer({ min: 0 }),
  }

  it('are within the error of rounded sums, and touch nothing beside their memory', () => {
    fc.assert(
      fc.property(fc.record({ ...sizes, ...rest }), (product) => check(product, small)),
      { numRuns: 150 },
    )
  })

  it('go on where a block ends', () => {
    for (const transposedLeft of [false, true])
      for (const transposedRight of [false, true])
        check({ rows: 199, columns: 529, inputs: 389, transposedLeft, transposedRight, hasBias: true, tasks: 2, seed: 1 }, usualBlocks)
  })
})

describe.skipIf(!emulator)('matrix products on an emulated processor (skipped without TINSMITH_BOCHS)', () => {
  it.each(['avx2Float', 'avx512Float'] as const)('%s', (name) => {
    for (const transposedLeft of [false, true])
      for (const transposedRight of [false, true]) {
        const emulated = new EmulatedMachine()
        const product = { rows: 13, columns: 83, inputs: 11, transposedLeft, transposedRight, hasBias: true, tasks: 2, seed: 1 }
        const placed = placeProduct(emulated, dotMachines[name], product, small, (code) => emulated.placeBytes(code))
        const caller = emulated.placeBytes(withTask())
        for (const words of placed.calls) emulated.call(caller, words)
        emulated.run('sapphire_rapids')
        expectRight(product, placed)
      }
  })
})
