import type { Assembler } from './assembler.js'
import { type DotMachine, panelColumns, vectorBytes } from './dot-machine.js'
import { emitAddress, emitCopy, emitPacked, frame, productParameters } from './matrix-blocks.js'
import { as, at, Label, r8q, r9, r10, r11, r12, r14, rax, rbp, rbx, rcx, rdx, rsi, xmm } from './operands.js'

/** Packs a panel of the right matrix: [inputs of the block][columns of a panel]. */
export function emitRightPacking(a: Assembler, machine: DotMachine, transposed: boolean): void {
  a.mov(rbp, productParameters.at('rightStride'))
  emitPacked(a, rdx, 'rightScratch', 'panel', 'columnBlock')
  const [row, column] = transposed ? [frame('panel'), frame('inputBlock')] : [frame('inputBlock'), frame('panel')]
  emitAddress(a, rsi, { base: productParameters.at('right'), row, stride: rbp, column })
  a.mov(rbx, frame('inputBlock', 'count'))
  const [edge, done] = [new Label(), new Label()]
  a.mov(rax, frame('panel', 'count'))
  a.cmp(rax, panelColumns(machine))
  a.jne(edge)
  if (transposed) emitTransposition(a, panelColumns(machine))
  else emitRows(a, machine)
  a.jmp(done)
  a.bind(edge)
  if (transposed) emitTransposedCopy(a, panelColumns(machine))
  else emitCopy(a, { from: rsi, fromStride: rbp, to: rdx, toStride: 4 * panelColumns(machine), rows: rbx, columns: rax })
  a.bind(done)
}

/** Copies rbx rows of a panel's width from rsi, rbp apart, to rdx. */
function emitRows(a: Assembler, machine: DotMachine): void {
  const { across, registers } = machine
  const bytes = vectorBytes(machine)
  const vectors = registers.slice(0, across)
  const next = a.here()
  for (const [v, vector] of vectors.entries()) a.vmovups(vector, at(rsi, v * bytes))
  for (const [v, vector] of vectors.entries()) a.vmovups(at(rdx, v * bytes), vector)
  a.add(rsi, rbp)
  a.add(rdx, across * bytes)
  a.dec(rbx)
  a.jne(next)
}

/** Copies rax rows of rbx elements from rsi, rbp apart, to the columns at rdx. */
function emitTransposedCopy(a: Assembler, columns: number): void {
  const nextRow = a.here()
  a.xor(r8q, r8q)
  a.mov(r10, rdx)
  const next = a.here()
  a.mov(as('r32', rcx), at(rsi, 0, r8q, 4))
  a.mov(at(r10), as('r32', rcx))
  a.add(r10, 4 * columns)
  a.inc(r8q)
  a.cmp(r8q, rbx)
  a.jl(next)
  a.add(rsi, rbp)
  a.add(rdx, 4)
  a.dec(rax)
  a.jne(nextRow)
}

/** The same for a whole panel: four by four elements at once. */
function emitTransposition(a: Assembler, columns: number): void {
  const stride = 4 * columns
  const [four, rest, one, done] = [new Label(), new Label(), new Label(), new Label()]
  a.lea(r9, at(rbp, 0, rbp, 2))
  a.mov(r11, columns / 4)
  const nextColumns = a.here()
  a.mov(r12, rsi)
  a.mov(r10, rdx)
  a.mov(r14, rbx)
  a.sub(r14, 4)
  a.jl(rest)
  a.bind(four)
  const rows = [at(r12), at(r12, 0, rbp, 1), at(r12, 0, rbp, 2), at(r12, 0, r9, 1)]
  for (const [i, row] of rows.entries()) a.vmovups(xmm[i], row)
  a.vunpcklps(xmm[4], xmm[0], xmm[1])
  a.vunpckhps(xmm[5], xmm[0], xmm[1])
  a.vunpcklps(xmm[6], xmm[2], xmm[3])
  a.vunpckhps(xmm[7], xmm[2], xmm[3])
  a.vmovlhps(xmm[0], xmm[4], xmm[6])
  a.vmovhlps(xmm[1], xmm[6], xmm[4])
  a.vmovlhps(xmm[2], xmm[5], xmm[7])
  a.vmovhlps(xmm[3], xmm[7], xmm[5])
  for (let i = 0; i < 4; i++) a.vmovups(at(r10, i * stride), xmm[i])
  a.add(r12, 16)
  a.add(r10, 4 * stride)
  a.sub(r14, 4)
  a.jge(four)
  a.bind(rest)
  a.add(r14, 4)
  a.je(done)
  a.bind(one)
  for (const [i, row] of rows.entries()) {
    a.mov(as('r32', rcx), row)
    a.mov(at(r10, 4 * i), as('r32', rcx))
  }
  a.add(r12, 4)
  a.add(r10, stride)
  a.dec(r14)
  a.jne(one)
  a.bind(done)
  a.lea(rsi, at(rsi, 0, rbp, 4))
  a.add(rdx, 16)
  a.dec(r11)
  a.jne(nextColumns)
}

/** Packs the rows of a tile of the left matrix, which is [inputs, rows]: [inputs of the block][rows of a tile]. */
export function emitLeftPacking(a: Assembler, height: number): void {
  const [edge, done] = [new Label(), new Label()]
  a.mov(rbp, productParameters.at('leftStride'))
  emitPacked(a, rdx, 'leftScratch', 'tile', 'rowBlock')
  emitAddress(a, rsi, { base: productParameters.at('left'), row: frame('inputBlock'), stride: rbp, column: frame('tile') })
  a.mov(rbx, frame('inputBlock', 'count'))
  a.mov(rax, frame('tile', 'count'))
  a.cmp(rax, height)
  a.jne(edge)
  const next = a.here()
  a.vmovups(xmm[0], at(rsi))
  a.vmovq(xmm[1], at(rsi, 16))
  a.vmovups(at(rdx), xmm[0])
  a.vmovq(at(rdx, 16), xmm[1])
  a.add(rsi, rbp)
  a.add(rdx, 4 * height)
  a.dec(rbx)
  a.jne(next)
  a.jmp(done)
  a.bind(edge)
  emitCopy(a, { from: rsi, fromStride: rbp, to: rdx, toStride: 4 * height, rows: rbx, columns: rax })
  a.bind(done)
}
