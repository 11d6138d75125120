import { groupListBytes, largestPairSum } from '../coupled-groups.js'
import type { ConstantMemory } from './constant-memory.node.js'
import { couplePanels, couplingParameters, waitingBytes } from './couple-groups.js'
import { driver } from './driver.js'
import { linkedCode } from './linked-code.node.js'
import { addressOf, called, type KernelCall, kernelAt, mapCode } from './memory.node.js'
import { type PanelPacker, surveyOf, type WholePanels } from './panels.js'
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

/** Code in memory: its addresses, and what is called from here. */
interface Kernels {
  readonly strips: { readonly address: bigint; readonly call: KernelCall }
  readonly couples: bigint
  readonly driver: KernelCall
}

let mapped: Kernels | undefined

/** What the kernel is called with, and where it leaves what it finds on the way: the sum of each column, and extremes. */
interface StripCall {
  readonly parameters: BigInt64Array
  readonly sums: Int32Array
  readonly extremes: Int16Array
}

function kernels(): Kernels {
  if (mapped) return mapped
  const codes = { 'pack-strips': packStrips, 'couple-panels': couplePanels, driver }
  const { code, offsets } = linkedCode(new Map(Object.entries(codes)), null)
  const { address } = mapCode(code)
  const [strips, couples, calls] = Object.keys(codes).map((name) => address + BigInt(offsets.get(name)!))
  mapped = { strips: { address: strips, call: kernelAt(strips) }, couples, driver: kernelAt(calls) }
  return mapped
}

function callOf(
  { codes, outputs, first, step, count, target, targetStride, targetStep, places }: Strips,
  extremes: Int16Array = new Int16Array(16),
): StripCall {
  const sums = new Int32Array(count * stripColumns)
  const [place0, place1, place2, place3] = places
  const parameters = stripParameters.block({
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
  return { parameters, sums, extremes }
}

/** Looks at the strips, and packs them. */
function surveyed(strips: Strips, extremes?: Int16Array): StripCall {
  const call = callOf(strips, extremes)
  kernels().strips.call(addressOf(call.parameters))
  return call
}

function isCovered(codes: Int8Array, outputs: number): boolean {
  return outputs >= stripColumns && codes.length > 0 && codes.length % (stripInputs * outputs) === 0
}

/** Joins the groups of packed panels in couples. */
function couplingOf({ codes, outputs, count, target, stride, highest }: WholePanels & { readonly highest: number }) {
  const groups = codes.length / outputs / 4
  const scratch = new Uint8Array(groups * waitingBytes)
  const weights = addressOf(target)
  const parameters = couplingParameters.block({
    lists: weights - BigInt(groupListBytes(groups)),
    weights,
    stride,
    panels: count,
    groups,
    limit: largestPairSum(highest),
    scratch: addressOf(scratch),
  })
  return { parameters, scratch }
}

/** Packs codes by machine code, into memory for constants; other threads do so while this one goes on. */
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
      const { sums, extremes } = surveyed({ codes, outputs, first: 0, step: stripColumns, count: whole, ...nowhere })
      const last = outputs - stripColumns
      const all = new Int32Array(outputs)
      all.set(surveyed({ codes, outputs, first: last, step: 0, count: 1, ...nowhere }, extremes).sums, last)
      all.set(sums)
      return { sums: all, pairs: [Math.min(...extremes.subarray(0, 8)), Math.max(...extremes.subarray(8))] }
    },
    pack(panels) {
      const { codes, outputs, first, count, places, target, stride, highest } = panels
      if (!isCovered(codes, outputs)) return false
      const columns = places.length
      const { driver, strips, couples } = kernels()
      for (let column = 0; column < columns; column += stripColumns) {
        const packing = callOf({
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
        // A panel of couples is one strip.
        const coupling = highest && couplingOf({ ...panels, highest })
        const calls = [strips.address, addressOf(packing.parameters)]
        if (coupling) calls.push(couples, addressOf(coupling.parameters))
        const list = BigInt64Array.of(0n, BigInt(calls.length / 2), ...calls)
        constants.fill(called(driver, addressOf(list)), [codes, list, ...Object.values(packing), ...Object.values(coupling || {})])
      }
      return true
    },
  }
}
