import type { Assembler } from './assembler.js'
import { as, at, type General, Label, type Memory, r8q, rax, rcx, rdx, rsp } from './operands.js'
import { Parameters } from './parameters.js'

/**
 * What a product of row-major float32 matrices is called with; strides are bytes from one row in memory to the next.
 *
 * - `left` [rows, inputs], `right` [inputs, columns], `output` [rows, columns]; no dimension is 0
 * - `bias` [columns], or 0
 * - `scratch`: {@link scratchBytes} for each of `slots`, one of which is the task's while its word at `taken` is 1; those are 64 bytes apart
 * - `rowsOfTask`, `columnsOfTask`: task i has so many from i times as many on, or all where this is 0
 */
export const productParameters = new Parameters([
  'left',
  'leftStride',
  'right',
  'rightStride',
  'output',
  'outputStride',
  'bias',
  'rows',
  'columns',
  'inputs',
  'scratch',
  'taken',
  'slots',
  'rowsOfTask',
  'columnsOfTask',
])

/** Sizes of a product's blocks; rows are a multiple of a tile's, columns of a panel's. */
export interface Blocks {
  readonly inputs: number
  readonly rows: number
  readonly columns: number
}

/** A panel of so many inputs nearly fits the first cache, the rows fit the second, the columns the third. */
export const usualBlocks: Blocks = { inputs: 384, rows: 192, columns: 512 }

/** Floats of a tile of the largest machine. */
const tileSize = 6 * 64

/** Where the parts of a task's scratch memory are: packed columns, packed rows, and a tile at the edge. */
export function scratchParts({ inputs, rows, columns }: Blocks) {
  return { rightScratch: 0, leftScratch: 4 * inputs * columns, tileScratch: 4 * inputs * (columns + rows) } as const
}

/** Bytes of scratch memory that a task needs; a multiple of 64. */
export function scratchBytes(blocks: Blocks = usualBlocks): number {
  return Math.ceil((scratchParts(blocks).tileScratch + 4 * tileSize) / 64) * 64
}

/** Loops over blocks, the inner ones within the outer ones. */
const loops = ['columnBlock', 'inputBlock', 'rowBlock', 'panel', 'tile'] as const
type Loop = (typeof loops)[number]
/** Of a loop: where its block begins, how long it is, where it stops, and where all end. */
const parts = ['start', 'count', 'stop', 'end'] as const

const singles = [
  ...(['firstRow', 'lastRow', 'firstColumn', 'lastColumn', 'noInput'] as const),
  ...(['taken', 'rightScratch', 'leftScratch', 'tileScratch'] as const),
] as const
type Single = (typeof singles)[number]

const names = [...loops.flatMap((loop) => parts.map((part) => `${loop} ${part}`)), ...singles]

/** Bytes that {@link frame} needs on the stack. */
export const frameBytes = 8 * names.length

/** A word on the stack: a part of a loop, its start unless told, or one of the others. */
export function frame(name: Loop | Single, part: (typeof parts)[number] = 'start'): Memory {
  const index = names.indexOf((loops as readonly string[]).includes(name) ? `${name} ${part}` : name)
  return at(rsp, 8 * index)
}

/** Repeats the body for each block of `step` between two bounds; the last one may be shorter. */
export function emitBlocks(a: Assembler, loop: Loop, range: { from: Memory; to: Memory; step: number }, body: () => void): void {
  const [next, done] = [new Label(), new Label()]
  a.mov(rax, range.to)
  a.mov(frame(loop, 'end'), rax)
  a.mov(rax, range.from)
  a.bind(next)
  a.mov(frame(loop), rax)
  a.mov(rdx, frame(loop, 'end'))
  a.sub(rdx, rax)
  a.jle(done)
  a.mov(rcx, range.step)
  a.cmp(rdx, rcx)
  a.cmovg(rdx, rcx)
  a.mov(frame(loop, 'count'), rdx)
  a.add(rdx, rax)
  a.mov(frame(loop, 'stop'), rdx)
  body()
  a.mov(rax, frame(loop, 'stop'))
  a.jmp(next)
  a.bind(done)
}

/** Sets a register to the address of an element of a row-major float32 matrix; changes rax. */
export function emitAddress(
  a: Assembler,
  to: General,
  { base, row, stride, column }: { base: Memory; row: Memory; stride: General; column: Memory },
): void {
  a.mov(to, row)
  a.imul(to, stride)
  a.add(to, base)
  a.mov(rax, column)
  a.lea(to, at(to, 0, rax, 4))
}

/** Sets a register to where a panel, or a tile's rows, lie packed; changes rax. */
export function emitPacked(
  a: Assembler,
  to: General,
  memory: 'rightScratch' | 'leftScratch',
  part: 'panel' | 'tile',
  block: 'columnBlock' | 'rowBlock',
): void {
  a.mov(to, frame(part))
  a.sub(to, frame(block))
  a.imul(to, frame('inputBlock', 'count'))
  a.mov(rax, frame(memory))
  a.lea(to, at(rax, 0, to, 4))
}

/** Rows of elements to copy; rows and columns are more than 0. The registers of addresses and of `rows` are changed, and r8 and rcx. */
export interface Copy {
  readonly from: General
  readonly fromStride: General
  readonly to: General
  readonly toStride: General | number
  readonly rows: General
  readonly columns: General
}

/** Copies element by element, so that nothing else is touched. */
export function emitCopy(a: Assembler, { from, fromStride, to, toStride, rows, columns }: Copy): void {
  const nextRow = a.here()
  a.xor(r8q, r8q)
  const next = a.here()
  a.mov(as('r32', rcx), at(from, 0, r8q, 4))
  a.mov(at(to, 0, r8q, 4), as('r32', rcx))
  a.inc(r8q)
  a.cmp(r8q, columns)
  a.jl(next)
  a.add(from, fromStride)
  a.add(to, toStride as General)
  a.dec(rows)
  a.jne(nextRow)
}
