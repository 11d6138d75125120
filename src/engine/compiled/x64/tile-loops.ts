import type { Assembler } from './assembler.js'
import { at, Label, type Memory, r9, r10, r11, r12, r13, r14, r15, rax, rbp, rbx, rcx, rdx, rsi, rsp } from './operands.js'

/**
 * What every product by panels is called with; 0 where an epilogue needs none. Distances are in bytes; `panelStride` and
 * `lastColumn` are as packed.
 */
export const productNames = [
  'activations',
  'activationStride',
  'rows',
  'panels',
  'panelCount',
  'panelStride',
  'lastColumn',
  'output',
  'outputStride',
  'residual',
  'residualStride',
  'rowParameters',
] as const

/** A product by panels: its tiles' code and measures. */
export interface TiledProduct {
  readonly parameters: { at(name: (typeof productNames)[number]): Memory }
  /** Columns of a panel, and bytes of an output. */
  readonly columns: number
  readonly outputBytes: 1 | 4
  /** Rows of the highest tile. */
  readonly rows: number
  /** Whether every two panels are for the same columns: `loopHalf` says which of them a tile is for, 0 or 1. */
  readonly gated?: boolean
  /** Calls the code of the tile whose height is in rbx. */
  callTile(a: Assembler): void
}

/** Bytes on the stack that the loops need. */
export const loopLocals = 64

/** Where on the stack the number of tiles of a panel is; r13 counts them. */
export const loopTiles = 0

/** Words on the stack: tiles, rows in the shorter ones, how many are longer by one; panels or pairs of them left, column. */
const local = { tiles: loopTiles, height: 8, longer: 16, panels: 24, column: 32, half: 40 }

/** Where the number of the panel among those for the same columns is, for code that is so many calls away from the loops. */
export function loopHalf(calls = 1): Memory {
  return at(rsp, 8 * calls + local.half)
}

/**
 * Walks the panels, and for each of them all rows, in as few tiles as there can be, of even heights. A tile finds: rbx
 * its height, r9 panel, r10 output, r11 its stride, r12 activations, rcx their stride, r14 residual, rbp row parameters. It moves r10,
 * r12, r14 and rbp on, keeps r9, r11, r13, rcx and rdi, and may use the rest.
 */
export function emitTileLoops(a: Assembler, { parameters, columns, outputBytes, rows, gated, callTile }: TiledProduct): void {
  const [nextPanel, nextTile, done] = [new Label(), new Label(), new Label()]
  a.mov(rax, parameters.at('rows'))
  a.add(rax, rows - 1)
  a.xor(rdx, rdx)
  a.mov(rbx, rows)
  a.div(rbx)
  a.mov(at(rsp, local.tiles), rax)
  a.mov(rbx, rax)
  a.mov(rax, parameters.at('rows'))
  a.xor(rdx, rdx)
  a.test(rbx, rbx)
  a.je(done)
  a.div(rbx)
  a.mov(at(rsp, local.height), rax)
  a.mov(at(rsp, local.longer), rdx)
  a.mov(rax, parameters.at('panelCount'))
  a.test(rax, rax)
  a.je(done)
  a.mov(at(rsp, local.panels), rax)
  a.xor(r15, r15)
  a.mov(at(rsp, local.column), r15)
  if (gated) a.mov(at(rsp, local.half), r15)
  a.mov(r9, parameters.at('panels'))
  a.mov(rcx, parameters.at('activationStride'))
  a.mov(r11, parameters.at('outputStride'))

  a.bind(nextPanel)
  a.mov(r15, at(rsp, local.column))
  a.cmp(r15, parameters.at('lastColumn'))
  a.cmovg(r15, parameters.at('lastColumn'))
  a.mov(r10, parameters.at('output'))
  a.lea(r10, at(r10, 0, r15, outputBytes))
  a.mov(r14, parameters.at('residual'))
  a.lea(r14, at(r14, 0, r15, 4))
  a.mov(r12, parameters.at('activations'))
  a.mov(rbp, parameters.at('rowParameters'))
  a.xor(r13, r13)

  a.bind(nextTile)
  a.mov(rbx, at(rsp, local.height))
  a.xor(rax, rax)
  a.mov(rdx, 1)
  a.cmp(r13, at(rsp, local.longer))
  a.cmovl(rax, rdx)
  a.add(rbx, rax)
  callTile(a)
  a.inc(r13)
  a.cmp(r13, at(rsp, local.tiles))
  a.jl(nextTile)

  a.add(r9, parameters.at('panelStride'))
  if (gated) {
    a.mov(rax, at(rsp, local.half))
    a.xor(rax, 1)
    a.mov(at(rsp, local.half), rax)
    a.jne(nextPanel)
  }
  a.mov(rax, at(rsp, local.column))
  a.add(rax, columns)
  a.mov(at(rsp, local.column), rax)
  a.mov(rax, at(rsp, local.panels))
  a.dec(rax)
  a.mov(at(rsp, local.panels), rax)
  a.jne(nextPanel)
  a.bind(done)
}

/** Calls the tile whose height is in rbx, out of those of 1, 2, ... rows. */
export function emitDispatch(a: Assembler, tiles: readonly Label[]): void {
  const called = new Label()
  for (const [i, tile] of [...tiles.entries()].reverse()) {
    const other = new Label()
    a.cmp(rbx, i + 1)
    a.jne(other)
    a.call(tile)
    a.jmp(called)
    a.bind(other)
  }
  a.bind(called)
}

/** Turns after each other, whose loop costs nothing. */
const most = 4

/** Emits `turn(count)`, which does so many turns and moves on, such that rax turns are done. */
export function emitTurns(a: Assembler, turn: (count: number) => void): void {
  const [many, few, one, finish] = [new Label(), new Label(), new Label(), new Label()]
  a.sub(rax, most)
  a.jl(few)
  a.align(32)
  a.bind(many)
  turn(most)
  a.sub(rax, most)
  a.jge(many)
  a.bind(few)
  a.add(rax, most)
  a.je(finish)
  a.bind(one)
  turn(1)
  a.dec(rax)
  a.jg(one)
  a.bind(finish)
}

/** Sets rsi and rdx to rows 0 and 3 of a tile's activations. */
export function emitRowPointers(a: Assembler, height: number): void {
  a.mov(rsi, r12)
  if (height <= 3) return
  a.lea(rdx, at(r12, 0, rcx, 2))
  a.add(rdx, rcx)
}

/** Moves what `emitRowPointers` set. */
export function emitRowAdvance(a: Assembler, height: number, bytes: number): void {
  a.add(rsi, bytes)
  if (height > 3) a.add(rdx, bytes)
}

/** The activations of a row of the tile, after `emitRowPointers`. */
export function rowOf(row: number): Memory {
  const base = row < 3 ? rsi : rdx
  return row % 3 === 0 ? at(base) : at(base, 0, rcx, (row % 3) as 1 | 2)
}
