import type { Assembler } from './assembler.js'
import { type DotMachine, panelColumns, vectorBytes } from './dot-machine.js'
import {
  type Blocks,
  emitAddress,
  emitBlocks,
  emitCopy,
  emitPacked,
  frame,
  frameBytes,
  productParameters,
  scratchBytes,
  scratchParts,
  usualBlocks,
} from './matrix-blocks.js'
import { emitLeftPacking, emitRightPacking } from './matrix-packing.js'
import { at, Label, type Memory, r8q, r9, r10, r11, r12, r14, r15, rax, rbp, rbx, rcx, rdx, rsi } from './operands.js'
import { kernel } from './parameters.js'
import { emitDispatch, emitRowAdvance, emitRowPointers, emitTurns, rowOf } from './tile-loops.js'

/** Which of the two matrices of a product lie in memory transposed. */
export interface ProductForm {
  /** The left matrix is [inputs, rows]. */
  readonly transposedLeft: boolean
  /** The right matrix is [columns, inputs]. */
  readonly transposedRight: boolean
}

/**
 * Code of a part of a matrix product, called with `productParameters` and the number of the task: blocks are packed into scratch memory,
 * and tiles of registers go through them. A sum begins with the bias, and takes the inputs in their order, fused.
 *
 * Source: Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication".
 */
export function matrixProduct(machine: DotMachine, form: ProductForm, blocks: Blocks = usualBlocks): Uint8Array {
  const tiles = Array.from({ length: machine.rows }, () => new Label())
  const zeros = new Label()
  const columns = panelColumns(machine)
  const panels = (a: Assembler, body: () => void) =>
    emitBlocks(a, 'panel', { from: frame('columnBlock'), to: frame('columnBlock', 'stop'), step: columns }, body)
  const rows = (a: Assembler, body: () => void) =>
    emitBlocks(a, 'tile', { from: frame('rowBlock'), to: frame('rowBlock', 'stop'), step: machine.rows }, body)
  return kernel(
    frameBytes,
    (a) => {
      emitTask(a)
      emitTakeScratch(a, blocks)
      emitBlocks(a, 'columnBlock', { from: frame('firstColumn'), to: frame('lastColumn'), step: blocks.columns }, () =>
        emitBlocks(a, 'inputBlock', { from: frame('noInput'), to: productParameters.at('inputs'), step: blocks.inputs }, () => {
          panels(a, () => emitRightPacking(a, machine, form.transposedRight))
          emitBlocks(a, 'rowBlock', { from: frame('firstRow'), to: frame('lastRow'), step: blocks.rows }, () => {
            if (form.transposedLeft) rows(a, () => emitLeftPacking(a, machine.rows))
            panels(a, () => rows(a, () => emitTileCall(a, form, columns, tiles, zeros)))
          })
        }),
      )
      a.mov(rbx, frame('taken'))
      a.xor(rax, rax)
      a.mov(at(rbx), rax)
    },
    (a) => {
      for (const [i, tile] of tiles.entries()) {
        a.align(32)
        a.bind(tile)
        emitTile(a, machine, i + 1, form.transposedLeft)
      }
      zeros.position = a.constants(new Float32Array(columns)).position
    },
  )
}

/** Which rows and columns are the task's, whose number is in rsi. */
function emitTask(a: Assembler): void {
  for (const [first, last, all, share] of [
    ['firstRow', 'lastRow', 'rows', 'rowsOfTask'],
    ['firstColumn', 'lastColumn', 'columns', 'columnsOfTask'],
  ] as const) {
    a.mov(rdx, productParameters.at(all))
    a.mov(rcx, productParameters.at(share))
    a.mov(rax, rcx)
    a.imul(rax, rsi)
    a.mov(frame(first), rax)
    a.add(rax, rcx)
    a.cmp(rax, rdx)
    a.cmovg(rax, rdx)
    a.test(rcx, rcx)
    a.cmove(rax, rdx)
    a.mov(frame(last), rax)
  }
  a.xor(rax, rax)
  a.mov(frame('noInput'), rax)
}

/** Takes a slot of scratch memory; where all are taken, another task will soon be done. */
function emitTakeScratch(a: Assembler, blocks: Blocks): void {
  const [again, next, taken] = [new Label(), new Label(), new Label()]
  a.bind(again)
  a.mov(rbx, productParameters.at('taken'))
  a.mov(rsi, productParameters.at('scratch'))
  a.xor(rdx, rdx)
  a.bind(next)
  a.mov(rax, 1)
  a.xchg(at(rbx), rax)
  a.test(rax, rax)
  a.je(taken)
  a.add(rbx, 64)
  a.add(rsi, scratchBytes(blocks))
  a.inc(rdx)
  a.cmp(rdx, productParameters.at('slots'))
  a.jl(next)
  a.pause()
  a.jmp(again)
  a.bind(taken)
  a.mov(frame('taken'), rbx)
  for (const part of ['rightScratch', 'leftScratch', 'tileScratch'] as const) {
    a.lea(rax, at(rsi, scratchParts(blocks)[part]))
    a.mov(frame(part), rax)
  }
}

/** Calls the code of a tile; one at the edge works in scratch memory, since whole vectors are read and written. */
function emitTileCall(a: Assembler, form: ProductForm, columns: number, tiles: readonly Label[], zeros: Label): void {
  const [whole, done] = [new Label(), new Label()]
  const scratchStride = 4 * columns
  emitOutput(a)
  emitStart(a, zeros)
  a.mov(rbx, frame('tile', 'count'))
  a.mov(rax, frame('panel', 'count'))
  a.cmp(rax, columns)
  a.je(whole)
  a.mov(rdx, frame('tileScratch'))
  emitCopy(a, { from: r14, fromStride: rbp, to: rdx, toStride: scratchStride, rows: rbx, columns: rax })
  a.mov(rbx, frame('tile', 'count'))
  a.mov(r10, frame('tileScratch'))
  a.mov(r14, r10)
  a.mov(rbp, scratchStride)
  a.mov(r11, scratchStride)
  emitInner(a, form, tiles)
  emitOutput(a)
  a.mov(rbx, frame('tile', 'count'))
  a.mov(rax, frame('panel', 'count'))
  a.mov(rdx, r10)
  a.mov(r14, frame('tileScratch'))
  a.mov(rbp, scratchStride)
  emitCopy(a, { from: r14, fromStride: rbp, to: rdx, toStride: r11, rows: rbx, columns: rax })
  a.jmp(done)
  a.bind(whole)
  emitInner(a, form, tiles)
  a.bind(done)
}

/** Sets r10 to the tile's output, and r11 to its stride. */
function emitOutput(a: Assembler): void {
  a.mov(r11, productParameters.at('outputStride'))
  emitAddress(a, r10, { base: productParameters.at('output'), row: frame('tile'), stride: r11, column: frame('panel') })
}

/** Sets r14 to where sums begin, and rbp to its stride: the bias, or what earlier inputs gave, which lies in the output. */
function emitStart(a: Assembler, zeros: Label): void {
  const [none, chosen] = [new Label(), new Label()]
  a.mov(r14, r10)
  a.mov(rbp, r11)
  a.mov(rax, frame('inputBlock'))
  a.test(rax, rax)
  a.jne(chosen)
  a.xor(rbp, rbp)
  a.mov(r14, productParameters.at('bias'))
  a.test(r14, r14)
  a.je(none)
  a.mov(rax, frame('panel'))
  a.lea(r14, at(r14, 0, rax, 4))
  a.jmp(chosen)
  a.bind(none)
  a.lea(r14, at(zeros))
  a.bind(chosen)
}

/** Calls the tile of rbx rows: r12 with stride rcx is its left matrix, r9 the panel, r15 the inputs. */
function emitInner(a: Assembler, form: ProductForm, tiles: readonly Label[]): void {
  a.mov(r15, frame('inputBlock', 'count'))
  emitPacked(a, r9, 'rightScratch', 'panel', 'columnBlock')
  if (form.transposedLeft) emitPacked(a, r12, 'leftScratch', 'tile', 'rowBlock')
  else {
    a.mov(rcx, productParameters.at('leftStride'))
    emitAddress(a, r12, { base: productParameters.at('left'), row: frame('tile'), stride: rcx, column: frame('inputBlock') })
  }
  emitDispatch(a, tiles)
}

/** One tile: sums in registers over all inputs of the block. */
function emitTile(a: Assembler, machine: DotMachine, height: number, packed: boolean): void {
  const { across, registers, rows } = machine
  const bytes = vectorBytes(machine)
  const sums = Array.from({ length: height }, (_, row) => registers.slice(row * across, (row + 1) * across))
  const free = registers.slice(rows * across)
  const leftOf = (row: number, input: number): Memory => (packed ? at(rsi, 4 * (input * rows + row)) : rowOf(row).plus(4 * input))
  const turn = (count: number) => {
    for (let input = 0; input < count; input++)
      machine.step(a, {
        sums,
        free,
        activations: (row) => leftOf(row, input),
        weights: (_, v) => at(r8q, (input * across + v) * bytes),
      })
    if (packed) a.add(rsi, 4 * rows * count)
    else emitRowAdvance(a, height, 4 * count)
    a.add(r8q, across * bytes * count)
  }
  for (const row of sums) {
    for (const [v, sum] of row.entries()) a.vmovups(sum, at(r14, v * bytes))
    a.add(r14, rbp)
  }
  emitPrefetch(a, height)
  if (packed) a.mov(rsi, r12)
  else emitRowPointers(a, height)
  a.mov(r8q, r9)
  a.mov(rax, r15)
  emitTurns(a, turn)
  for (const row of sums) {
    for (const [v, sum] of row.entries()) a.vmovups(at(r10, v * bytes), sum)
    a.add(r10, r11)
  }
  a.ret()
}

/** Asks for the output of the tile below, so that it is near when its turn comes. */
function emitPrefetch(a: Assembler, height: number): void {
  a.mov(r14, r10)
  for (let row = 0; row < height; row++) a.add(r14, r11)
  for (let row = 0; row < height; row++) {
    a.prefetcht0(at(r14))
    a.add(r14, r11)
  }
}
