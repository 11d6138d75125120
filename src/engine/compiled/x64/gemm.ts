import type { Assembler } from './assembler.js'
import { emitCoupledTurns } from './coupled-turns.js'
import { type DotMachine, panelColumns, vectorBytes } from './dot-machine.js'
import { type Epilogue, type EpilogueContext, emitEpilogue, isGated, outputBytes } from './epilogue.js'
import { at, Label, r8q, r9, r10, r11, r12, r14, rax, rbp, rcx, type Vector } from './operands.js'
import { headerWords } from './panels.js'
import { kernel, Parameters } from './parameters.js'
import {
  emitDispatch,
  emitRowAdvance,
  emitRowPointers,
  emitTileLoops,
  emitTurns,
  loopHalf,
  loopLocals,
  productNames,
  rowOf,
} from './tile-loops.js'
import { VectorConstants, vectorMachineOf } from './vector-machine.js'

/**
 * What a product is called with. Distances are in bytes.
 *
 * - `activations`: [rows, inputs] u8, u16 for `avx2Words`, float32 for machines of floats; rows `activationStride` apart;
 *   read up to the next group of inputs, so the last row needs that much behind it
 * - `panels`: packed weights, `panelCount` of them with `groups` groups of inputs; `panelStride`, `lastColumn` as packed
 * - `output`: [rows, outputs], rows `outputStride` apart; whole panels are written, so fewer outputs than a panel has
 *   columns need rows that long
 * - `residual`: float32 like the output, or the output itself where the epilogue is gated; `rowParameters`: scale and offset of each row, two
 *   float32, `rowParametersStride` bytes apart
 * - `zeroPoint`, `high`: of codes
 */
export const gemmParameters = new Parameters([...productNames, 'groups', 'rowParametersStride', 'zeroPoint', 'high'])

/**
 * Code of a product u8 x s8 -> s32, or of float32, with what follows it. Called with `gemmParameters`.
 *
 * @example
 * const code = gemm(dotMachines.avx2Words, { kind: 'f32', activation: 'relu' })
 */
export function gemm(machine: DotMachine, epilogue: Epilogue): Uint8Array {
  const tiles = Array.from({ length: machine.rows }, () => new Label())
  const ceiling = new Label()
  const constants = new VectorConstants(vectorMachineOf(machine))
  const callTile = (a: Assembler) => emitDispatch(a, tiles)
  const product = {
    parameters: gemmParameters,
    columns: panelColumns(machine),
    outputBytes: outputBytes(epilogue),
    rows: machine.rows,
    gated: isGated(epilogue),
    callTile,
  }
  return kernel(
    loopLocals,
    (a) => emitTileLoops(a, product),
    (a) => {
      for (const [i, tile] of tiles.entries()) {
        a.align(32)
        a.bind(tile)
        emitTile(a, machine, epilogue, i + 1, { ceiling, constants, half: loopHalf() })
      }
      constants.place(a)
      ceiling.position = a.constants(Float32Array.of(2 ** 30)).position
    },
  )
}

/** One tile: sums in registers over all inputs, then the epilogue of each row. */
function emitTile(a: Assembler, machine: DotMachine, epilogue: Epilogue, height: number, constants: EpilogueConstants): void {
  const { across, registers } = machine
  const bytes = vectorBytes(machine)
  const columns = panelColumns(machine)
  const sums = Array.from({ length: height }, (_, row) => registers.slice(row * across, (row + 1) * across))
  const free = registers.slice(machine.rows * across)

  machine.prepare(a, free)
  for (const row of sums) for (const [v, register] of row.entries()) a.vmovups(register, at(r9, v * bytes))
  const weights = at(r9, 4 * columns * headerWords)
  const [groups, panelStride] = [gemmParameters.at('groups'), gemmParameters.at('panelStride')]
  if (machine.coupled) emitCoupledTurns(a, machine, { sums, free, list: weights, groups, panelStride })
  else {
    emitRowPointers(a, height)
    a.lea(r8q, weights)
    a.mov(rax, groups)
    emitTurns(a, (count) => {
      for (let first = 0; first < count; first++)
        machine.step(a, {
          sums,
          free,
          activations: (row) => rowOf(row).plus(4 * first),
          weights: (_, v) => at(r8q, (first * across + v) * bytes),
        })
      emitRowAdvance(a, height, 4 * count)
      a.add(r8q, 4 * columns * count)
    })
  }
  for (const row of sums) emitRowEpilogue(a, machine, epilogue, row, free, constants)
  a.ret()
}

/** What epilogues find behind the code and on the stack. */
export type EpilogueConstants = Pick<EpilogueContext, 'ceiling' | 'constants' | 'half'>

/** The epilogue of a row; leaves the pointers at the next one. */
export function emitRowEpilogue(
  a: Assembler,
  machine: DotMachine,
  epilogue: Epilogue,
  accumulators: readonly Vector[],
  free: readonly Vector[],
  constants: EpilogueConstants,
): void {
  emitEpilogue(a, epilogue, accumulators, contextOf(machine, free, constants))
  a.add(r10, r11)
  if (epilogue.kind === 'f32' && (epilogue.residual || epilogue.gated)) a.add(r14, gemmParameters.at('residualStride'))
  if ('rows' in epilogue && epilogue.rows) a.add(rbp, gemmParameters.at('rowParametersStride'))
  a.add(r12, rcx)
}

function contextOf(machine: DotMachine, free: readonly Vector[], constants: EpilogueConstants): EpilogueContext {
  const header = (word: number) => at(r9, 4 * word * panelColumns(machine))
  return {
    machine,
    free,
    scale: header(1),
    bias: header(2),
    sums: header(3),
    factor: header(4),
    output: at(r10),
    residual: at(r14),
    rowScale: at(rbp),
    rowOffset: at(rbp, 4),
    zeroPoint: gemmParameters.at('zeroPoint'),
    high: gemmParameters.at('high'),
    ...constants,
  }
}
