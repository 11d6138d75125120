import type { ConstantMemory } from './constant-memory.node.js'
import { addressOf, type KernelCall, mapCode } from './memory.node.js'
import { type PanelPacker, surveyOf } from './panels.js'
import { packStrips, stripColumns, stripInputs, stripParameters } from './strips.js'

/** Columns of a strip that stay together in a panel, and how many times so many it has. */
const together = 4
const blocks = [0, 1, 2, 3]

/** Neighbouring strips of codes, and where they go. */
interface Strips {
  readonly codes: Int8Array
  readonly outputs: number
  /** First column of the first, columns from one to the next, and how many there are. */
  readonly first: number
  readonly step: number
  readonly count: number
  readonly target: Uint8Array
  readonly targetStride: number
  readonly targetStep: number
  /** Where each block goes. */
  readonly places: readonly number[]
}

let kernel: KernelCall | undefined
/** Held, for the kernel reads it. */
const parameters = new BigInt64Array(stripParameters.names.length)

/** What is found on the way: the sum of each column, and extremes as `stripParameters` says. */
function packed({ codes, outputs, first, step, count, target, targetStride, targetStep, places }: Strips, extremes = new Int16Array(32)) {
  kernel ??= mapCode(packStrips()).call
  const sums = new Int32Array(count * stripColumns)
  const [place0, place1, place2, place3] = places
  const block = stripParameters.block({
    source: addressOf(codes) + BigInt(first),
    sourceStride: outputs,
    sourceStep: step,
    turns: codes.length / outputs / stripInputs,
    target: addressOf(target),
    targetStride,
    targetStep,
    ...{ place0, place1, place2, place3 },
    strips: count,
    sums: addressOf(sums),
    extremes: addressOf(extremes),
  })
  parameters.set(block)
  kernel(addressOf(parameters))
  return { sums, extremes }
}

function isCovered(codes: Int8Array, outputs: number): boolean {
  return outputs >= stripColumns && codes.length > 0 && codes.length % (stripInputs * outputs) === 0
}

/** Packs codes by machine code, into memory for constants. */
export function panelPacker(constants: ConstantMemory): PanelPacker {
  return {
    allocate: (bytes) => constants.allocate(bytes),
    survey(codes, outputs) {
      if (!isCovered(codes, outputs)) return surveyOf(codes, outputs)
      const nowhere = {
        target: new Uint8Array(4 * together * stripColumns),
        targetStride: 0,
        targetStep: 0,
        places: blocks.map((i) => 16 * i),
      }
      const whole = Math.floor(outputs / stripColumns)
      const { sums, extremes } = packed({ codes, outputs, first: 0, step: stripColumns, count: whole, ...nowhere })
      const last = outputs - stripColumns
      const all = new Int32Array(outputs)
      all.set(packed({ codes, outputs, first: last, step: 0, count: 1, ...nowhere }, extremes).sums, last)
      all.set(sums)
      const range = (row: number): [number, number] => [
        Math.min(...extremes.subarray(row, row + 8)),
        Math.max(...extremes.subarray(row + 8, row + 16)),
      ]
      return { sums: all, pairs: range(0), fours: range(16) }
    },
    pack({ codes, outputs, first, count, places, target, stride }) {
      if (!isCovered(codes, outputs)) return false
      const columns = places.length
      for (let column = 0; column < columns; column += stripColumns)
        packed({
          codes,
          outputs,
          first: first + column,
          step: columns,
          count,
          target,
          targetStride: 4 * columns,
          targetStep: stride,
          places: blocks.map((i) => 4 * places.indexOf(column + together * i)),
        })
      return true
    },
  }
}
