import type { StepOf } from '../plan/steps.js'
import type { StepKernel } from '../program.js'
import type { Assembler } from './assembler.js'
import { stepKernel, type X64Context } from './context.js'
import { Label, r9, r10, r11, r12, r13, r14, r15, rax, rbx, rcx, rdx, rsi } from './operands.js'
import { kernel, Parameters } from './parameters.js'
import { sequenceBytes, sequenceWord } from './pool.js'
import { emitColumns, emitRows, emitStore, rowWords } from './rows.js'
import { VectorConstants, type VectorMachine } from './vector-machine.js'

/**
 * `images`: float32 [sequences, channels, height, width], `imageStride` bytes apart; `output`: float32, a row for each token, `outputStride`
 * bytes apart; `sequences`: their table, entries `sequenceStride` apart.
 */
export const patchesParameters = new Parameters(['images', 'imageStride', 'rows', 'output', 'outputStride', 'sequences', 'sequenceStride'])

/** What the code of patches depends on. */
export interface PatchesShape {
  readonly vectors: VectorMachine['name']
  readonly channels: number
  readonly height: number
  readonly width: number
  readonly size: number
  readonly leading: number
}

/** Code of pieces of images as rows. Called with `patchesParameters`; `rows` counts sequences. */
export function patches(machine: VectorMachine, shape: PatchesShape): Uint8Array {
  const p = patchesParameters
  const constants = new VectorConstants(machine)
  const pointers = [
    { register: r9, address: p.at('sequences'), stride: p.at('sequenceStride') },
    { register: r10, address: p.at('images'), stride: p.at('imageStride') },
  ]
  const emitSequence = (a: Assembler) => {
    const [nextRow, piece, rowDone] = [new Label(), new Label(), new Label()]
    a.mov(rcx, sequenceWord('first'))
    a.imul(rcx, p.at('outputStride'))
    a.add(rcx, p.at('output'))
    a.xor(r11, r11)
    a.bind(nextRow)
    a.cmp(r11, shape.leading)
    a.jge(piece)
    emitZeros(a, machine, shape, constants)
    a.jmp(rowDone)
    a.bind(piece)
    emitPiece(a, machine, shape, constants)
    a.bind(rowDone)
    a.add(rcx, p.at('outputStride'))
    a.inc(r11)
    a.cmp(r11, sequenceWord('rows'))
    a.jl(nextRow)
  }
  return kernel(
    0,
    (a) => emitRows(a, p.at('rows'), pointers, () => emitSequence(a)),
    (a) => constants.place(a),
  )
}

/** Zeros in the row at rcx. */
function emitZeros(a: Assembler, machine: VectorMachine, { channels, size }: PatchesShape, constants: VectorConstants): void {
  const [zero, temporary] = machine.registers
  a.vxorps(zero, zero, zero)
  emitColumns(a, machine, channels * size ** 2, 4, (vectors) => {
    for (const { of, part } of vectors) emitStore(a, of(rcx), zero, part, temporary, constants)
  })
}

/** The piece of the image at r10 that belongs in row r11 of the sequence, to rcx. */
function emitPiece(a: Assembler, machine: VectorMachine, shape: PatchesShape, constants: VectorConstants): void {
  const { channels, height, width, size, leading } = shape
  const [nextChannel, nextLine] = [new Label(), new Label()]
  const [value, temporary] = machine.registers
  a.mov(r15, rdx)
  a.mov(rax, r11)
  a.sub(rax, leading)
  a.xor(rdx, rdx)
  a.mov(rbx, Math.floor(width / size))
  a.div(rbx)
  a.imul(rsi, rax, 4 * size * width)
  a.imul(rdx, rdx, 4 * size)
  a.add(rsi, rdx)
  a.add(rsi, r10)
  a.mov(rdx, r15)
  a.mov(r12, rcx)
  a.mov(r13, channels)
  a.bind(nextChannel)
  a.mov(r14, size)
  a.bind(nextLine)
  emitColumns(a, machine, size, 4, (vectors) => {
    for (const { of, part } of vectors) {
      a.vmovups(value, of(rsi))
      emitStore(a, of(r12), value, part, temporary, constants)
    }
  })
  a.add(rsi, 4 * width)
  a.add(r12, 4 * size)
  a.dec(r14)
  a.jne(nextLine)
  a.add(rsi, 4 * width * (height - size))
  a.dec(r13)
  a.jne(nextChannel)
}

/** The kernel of patches. */
export function patchesKernels(step: StepOf<'patches'>, { vectors }: X64Context): StepKernel<Uint8Array>[] {
  const { input, channels, height, width, size, leading, output } = step
  const shape: PatchesShape = { vectors: vectors.name, channels, height, width, size, leading }
  return [
    stepKernel({
      name: 'patches',
      shape,
      code: () => patches(vectors, shape),
      parameters: patchesParameters,
      words: {
        images: { address: { image: input } },
        imageStride: 4 * channels * height * width,
        rows: { rows: 'sequence' },
        ...rowWords('output', output),
        sequences: { sequences: true },
        sequenceStride: sequenceBytes,
      },
    }),
  ]
}
