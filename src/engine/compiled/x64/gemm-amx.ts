import type { Assembler } from './assembler.js'
import { dotMachines, panelColumns } from './dot-machine.js'
import { type Epilogue, isGated, outputBytes } from './epilogue.js'
import { type EpilogueConstants, emitRowEpilogue, gemmParameters } from './gemm.js'
import { at, Label, r8q, r9, r12, r13, r15, rax, rbx, rcx, rdx, rsi, rsp, tmm, zmm } from './operands.js'
import { headerWords } from './panels.js'
import { kernel } from './parameters.js'
import { emitTileLoops, loopHalf, loopLocals, loopTiles } from './tile-loops.js'
import { VectorConstants, vectorMachines } from './vector-machine.js'

/** Panels and epilogues are those of AVX512 (processors with tiles have all of it); inputs are filled up to a multiple of what a tile's row holds. */
const machine = dotMachines.avx512Vnni
const columns = panelColumns(machine)

/** Inputs of a step: bytes of a tile's row. `packPanels` must be told as `inputMultiple`. */
export const amxInputMultiple = 64

/** Rows of a tile, and groups of 4 inputs of a step. */
const rows = 16

/** On the stack: the height that the tiles are set up for; of how many rows the sums wait for what follows them; sums of 16 rows. */
const local = { height: loopLocals, waiting: loopLocals + 8, sums: loopLocals + 64, all: loopLocals + 64 + rows * columns * 4 }

/** The same in a tile, where the return address lies above. */
const returnAddress = 8
const [waiting, sums] = [local.waiting, local.sums].map((offset) => at(rsp, returnAddress + offset))

/** Rows of the tile before for which that is done beside a step. */
const finishedRows = 3

const sumTiles = tmm.slice(0, columns / 16)
const [activationTile, evenWeights, oddWeights] = tmm.slice(4)

/**
 * Code of the product u8 x s8 -> s32 on tiles, with what follows it. Called with `gemmParameters`; activations are read
 * in steps of 64 inputs, so the last row needs that much behind it. Needs `amxInt8`.
 */
export function gemmAmx(epilogue: Epilogue): Uint8Array {
  const [tile, row, ceiling, shapes] = [new Label(), new Label(), new Label(), new Label()]
  const constants = new VectorConstants(vectorMachines.avx512)
  const callTile = (a: Assembler) => a.call(tile)
  const product = { parameters: gemmParameters, columns, outputBytes: outputBytes(epilogue), rows, gated: isGated(epilogue), callTile }
  return kernel(
    local.all,
    (a) => {
      a.xor(rax, rax)
      a.mov(at(rsp, local.height), rax)
      a.mov(at(rsp, local.waiting), rax)
      emitTileLoops(a, product)
      a.tilerelease()
    },
    (a) => {
      a.align(32)
      a.bind(tile)
      emitTile(a, shapes, row)
      a.align(32)
      a.bind(row)
      emitRow(a, epilogue, { ceiling, constants, half: loopHalf(2) })
      constants.place(a)
      ceiling.position = a.constants(Float32Array.of(2 ** 30)).position
      shapes.position = a.constants(tileShapes()).position
    },
  )
}

/** For each height the 64 bytes that LDTILECFG reads: palette 1, then bytes of a row and rows of each tile. */
function tileShapes(): Uint8Array {
  const bytes = new Uint8Array((rows + 1) * 64)
  for (let height = 1; height <= rows; height++) {
    const shape = new DataView(bytes.buffer, height * 64, 64)
    shape.setUint8(0, 1)
    for (const { index } of tmm.slice(0, 7)) {
      shape.setUint16(16 + 2 * index, amxInputMultiple, true)
      shape.setUint8(48 + index, index < evenWeights.index ? height : rows)
    }
  }
  return bytes
}

/**
 * One tile: its sums over all inputs, and beside them what follows the sums of the tile before, so that the units of tiles and of vectors
 * work at the same time. The pointers are at the first row that waits; the last tile of a panel leaves none.
 */
function emitTile(a: Assembler, shapes: Label, row: Label): void {
  const [nextStep, done] = [new Label(), new Label()]
  emitShape(a, shapes)
  // A stride of zero makes every row of the sums begin alike.
  a.xor(rdx, rdx)
  for (const [i, sum] of sumTiles.entries()) a.tileloadd(sum, at(r9, 64 * i, rdx))
  a.mov(rsi, waiting)
  a.imul(rsi, rcx)
  a.add(rsi, r12)
  a.lea(r8q, at(r9, 4 * columns * headerWords))
  a.lea(r15, sums)
  a.mov(rax, gemmParameters.at('groups'))
  a.shr(rax, Math.log2(amxInputMultiple / machine.group))
  a.bind(nextStep)
  a.mov(rdx, 4 * columns)
  a.tileloadd(activationTile, at(rsi, 0, rcx))
  for (const [i, sum] of sumTiles.entries()) {
    const weights = i % 2 ? oddWeights : evenWeights
    a.tileloadd(weights, at(r8q, 64 * i, rdx))
    a.tdpbusd(sum, activationTile, weights)
  }
  for (let i = 0; i < finishedRows; i++) emitFinish(a, row)
  a.add(rsi, amxInputMultiple)
  a.add(r8q, amxInputMultiple * columns)
  a.dec(rax)
  a.jne(nextStep)
  emitFinish(a, row, true)

  a.mov(rdx, 4 * columns)
  for (const [i, sum] of sumTiles.entries()) a.tilestored(at(rsp, sums.displacement + 64 * i, rdx), sum)
  a.lea(r15, sums)
  a.mov(waiting, rbx)
  a.lea(rax, at(r13, 1))
  a.cmp(rax, at(rsp, returnAddress + loopTiles))
  a.jl(done)
  emitFinish(a, row, true)
  a.bind(done)
  a.ret()
}

/** Calls the code for one row that waits, if there is one, or for all of them. */
function emitFinish(a: Assembler, row: Label, all = false): void {
  const [next, none] = [new Label(), new Label()]
  a.bind(next)
  a.mov(rdx, waiting)
  a.sub(rdx, 1)
  a.jl(none)
  a.mov(waiting, rdx)
  a.call(row)
  if (all) a.jmp(next)
  a.bind(none)
}

/** What follows the sums of a row, which r15 points to. */
function emitRow(a: Assembler, epilogue: Epilogue, constants: EpilogueConstants): void {
  const accumulators = zmm.slice(0, sumTiles.length)
  for (const [i, register] of accumulators.entries()) a.vmovups(register, at(r15, 64 * i))
  emitRowEpilogue(a, machine, epilogue, accumulators, zmm.slice(sumTiles.length), constants)
  a.add(r15, 4 * columns)
  a.ret()
}

/** Sets the tiles up for the height in rbx, unless they are. */
function emitShape(a: Assembler, shapes: Label): void {
  const ready = new Label()
  const height = at(rsp, returnAddress + local.height)
  a.cmp(rbx, height)
  a.je(ready)
  a.mov(height, rbx)
  a.lea(r15, at(shapes))
  a.mov(rax, rbx)
  a.shl(rax, 6)
  a.add(r15, rax)
  a.ldtilecfg(at(r15))
  a.bind(ready)
}
