import type { ActivationFunction } from '../plan/steps.js'
import type { Assembler } from './assembler.js'
import type { BlockMachine } from './block-machine.js'
import { type BlockFormat, blockBytes, blockInputs } from './block-weights.js'
import { emitGate } from './epilogue.js'
import { as, at, Label, type Memory, r8q, r9, r10, r11, r12, r14, rax, rcx, type Vector } from './operands.js'
import { kernel, Parameters } from './parameters.js'
import { emitDispatch, emitRowAdvance, emitRowPointers, emitTileLoops, loopHalf, loopLocals, productNames, rowOf } from './tile-loops.js'
import { VectorConstants, vectorMachineOf } from './vector-machine.js'

/**
 * What a product of block weights is called with. Distances are in bytes.
 *
 * - `activations`: rows of blocks as `quantizeBlocks` writes them
 * - `panels`, `panelCount`, `panelStride`, `lastColumn`, `blocks`: as packed by `packBlocks`
 * - `output`, `residual`: float32 [rows, outputs]; whole panels are written; with a gate, the residual is the output
 */
export const blockGemmParameters = new Parameters([...productNames, 'blocks'])

/** What follows the sums. */
export interface BlockEpilogue {
  /** Every two panels are for the same columns: the sums of the second one are multiplied with this function of the first one's. */
  readonly gate?: ActivationFunction
  readonly bias?: boolean
  readonly residual?: boolean
}

/** A block of activations: 32 signed bytes, then scale, sum of codes as s32, scale * sum as float32, and a gap. */
export const activationBlock = { scale: blockInputs, sum: blockInputs + 4, scaledSum: blockInputs + 8, bytes: blockInputs + 16 } as const

/** Rows of a tile: as many sums, in floats and in integers, as there are registers for. */
const rows = 4

/**
 * Code of a product of activations in blocks of bytes with weights in blocks of 4 or 8 bits:
 * the sum over blocks of `activation scale * (scale * sum of (code - zero) * activation + minimum * sum of activations)`.
 * Products and sums within a block are exact. Called with `blockGemmParameters`.
 */
export function blockGemm(machine: BlockMachine, format: BlockFormat, epilogue: BlockEpilogue = {}): Uint8Array {
  const tiles = Array.from({ length: rows }, () => new Label())
  const callTile = (a: Assembler) => emitDispatch(a, tiles)
  const constants = new VectorConstants(vectorMachineOf(machine))
  const gated = epilogue.gate !== undefined
  const product = { parameters: blockGemmParameters, columns: machine.columns, outputBytes: 4, rows, gated, callTile } as const
  return kernel(
    loopLocals,
    (a) => emitTileLoops(a, product),
    (a) => {
      for (const [i, tile] of tiles.entries()) {
        a.align(32)
        a.bind(tile)
        emitTile(a, machine, format, epilogue, i + 1, constants)
      }
      constants.place(a)
    },
  )
}

/** How many bytes ahead weights are asked for: memory answers after some hundred cycles. */
const prefetchDistance = 2048

function emitTile(
  a: Assembler,
  machine: BlockMachine,
  format: BlockFormat,
  epilogue: BlockEpilogue,
  height: number,
  constants: VectorConstants,
): void {
  const { registers, columns } = machine
  const totals = registers.slice(0, height)
  const sums = registers.slice(rows, rows + height)
  const [codes, moreCodes, temporary, another, mask, ones, scale] = registers.slice(2 * rows)
  const sizes = blockBytes(format, columns)
  const next = new Label()

  for (const total of totals) a.vxorps(total, total, total)
  a.vpcmpeqw(as('ymm', ones), as('ymm', ones), as('ymm', ones))
  a.vpsrlw(as('ymm', ones), as('ymm', ones), 15)
  emitMask(a, mask)
  emitRowPointers(a, height)
  a.lea(r8q, at(r9, 4 * columns))
  a.mov(rax, blockGemmParameters.at('blocks'))
  a.align(32)
  a.bind(next)
  for (let line = 0; line < sizes.all; line += 64) a.prefetcht0(at(r8q, prefetchDistance + line))
  if (format.bits === 4) emitNibbles(a, machine, sums, [codes, moreCodes, temporary, mask])
  else emitBytes(a, machine, sums, [codes, moreCodes, temporary, ones])
  const minimum = moreCodes
  emitLoadScales(a, scale, at(r8q, sizes.codes), format)
  if (format.minimums) emitLoadScales(a, minimum, at(r8q, sizes.codes + sizes.scales), format)
  const shift = format.bits === 8 ? Math.log2(machine.byteOffset) : Math.log2(format.zero)
  for (const [r, sum] of sums.entries()) {
    if (format.bits === 4) machine.finish(a, sum, ones)
    if (shift > 0) {
      a.vbroadcastss(temporary, rowOf(r).plus(activationBlock.sum))
      a.vpslld(temporary, temporary, shift)
      a.vpsubd(sum, sum, temporary)
    }
    a.vcvtdq2ps(sum, sum)
    a.vbroadcastss(another, rowOf(r).plus(activationBlock.scale))
    a.vmulps(another, another, scale)
    a.vfmadd231ps(totals[r], sum, another)
    if (format.minimums) {
      a.vbroadcastss(temporary, rowOf(r).plus(activationBlock.scaledSum))
      a.vfmadd231ps(totals[r], temporary, minimum)
    }
  }
  a.add(r8q, sizes.all)
  emitRowAdvance(a, height, activationBlock.bytes)
  a.dec(rax)
  a.jne(next)

  if (epilogue.bias) for (const total of totals) a.vaddps(total, total, at(r9))
  if (epilogue.gate)
    emitGate(a, epilogue.gate, totals, { free: registers.slice(height), constants, half: loopHalf() }, () => {
      for (const total of totals) {
        a.vmulps(total, total, at(r14))
        a.add(r14, blockGemmParameters.at('residualStride'))
      }
    })
  for (const total of totals) {
    if (epilogue.residual) {
      a.vaddps(total, total, at(r14))
      a.add(r14, blockGemmParameters.at('residualStride'))
    }
    a.vmovups(at(r10), total)
    a.add(r10, r11)
    a.add(r12, rcx)
  }
  a.ret()
}

/** Bytes of 15 in every lane. */
function emitMask(a: Assembler, mask: Vector): void {
  a.mov(rax, 0x0f0f0f0f)
  a.vmovq(as('xmm', mask), rax)
  a.vpbroadcastd(mask, as('xmm', mask))
}

function emitNibbles(a: Assembler, machine: BlockMachine, sums: readonly Vector[], [low, high, temporary, mask]: readonly Vector[]): void {
  const bytes = 4 * machine.columns
  for (let pair = 0; pair < blockInputs / 8; pair++) {
    a.vmovups(high, at(r8q, pair * bytes))
    a.vandps(low, high, mask)
    a.vpsrlw(high, high, 4)
    a.vandps(high, high, mask)
    for (const [half, codes] of [low, high].entries()) {
      const group = 2 * pair + half
      for (const [r, sum] of sums.entries()) machine.multiplyNibbles(a, sum, codes, activationsOf(r, group), temporary, group === 0)
    }
  }
}

function emitBytes(
  a: Assembler,
  machine: BlockMachine,
  sums: readonly Vector[],
  [codes, magnitude, temporary, ones]: readonly Vector[],
): void {
  for (let group = 0; group < blockInputs / 4; group++) {
    a.vmovups(codes, at(r8q, group * 4 * machine.columns))
    for (const [r, sum] of sums.entries()) {
      machine.multiplyBytes(a, sum, codes, activationsOf(r, group), [magnitude, temporary], ones, group === 0)
    }
  }
}

function activationsOf(row: number, group: number): Memory {
  return rowOf(row).plus(4 * group)
}

function emitLoadScales(a: Assembler, register: Vector, place: Memory, { halfScales }: BlockFormat): void {
  if (halfScales) a.vcvtph2ps(register, place)
  else a.vmovups(register, place)
}
