import { roundUp } from '../../plan/steps.js'
import type { FunctionBuilder, Local } from '../function.js'
import { i16x8, i32, i32x4, v128 } from '../values.js'

/** Products of bytes are made four inputs at a time, and added in pairs: to numbers of 16 bits. */
const [groupInputs, pairInputs] = [4, 2]

/** In which order a panel takes its groups of inputs: first the couples, one group behind the other, then those that are alone. */
export interface GroupOrder {
  readonly couples: number
  readonly groups: readonly number[]
}

/** A panel's codes [inputs, columns from `first` up to `end`] of a matrix with so many `outputs`. */
export interface PanelCodes {
  readonly codes: Float32Array | Int8Array
  readonly inputs: number
  readonly outputs: number
  readonly first: number
  readonly end: number
}

/**
 * Joins groups of inputs in couples, so that the pairs of products of both add up within 16 bits in all columns, with any codes of up to `highest`:
 * then these sums are widened once for both. The groups with the largest codes choose first, and look for one with small codes.
 */
export function coupleGroups(panel: PanelCodes, highest: number): GroupOrder {
  const { sums, totals } = pairSums(panel)
  const length = sums.length / totals.length
  const [above, below] = [Math.floor((2 ** 15 - 1) / highest), Math.floor(2 ** 15 / highest)]
  const fits = (a: number, b: number) => {
    for (let i = a * length, j = b * length; i < (a + 1) * length; i += 2, j += 2)
      if (sums[i] + sums[j] > above || sums[i + 1] + sums[j + 1] > below) return false
    return true
  }
  const waiting = [...totals.keys()].sort((a, b) => totals[a] - totals[b])
  const [coupled, single]: [number[], number[]] = [[], []]
  while (waiting.length) {
    const group = waiting.pop()!
    const partner = waiting.findIndex((other) => fits(group, other))
    if (partner < 0) single.push(group)
    else coupled.push(group, ...waiting.splice(partner, 1))
  }
  return { couples: coupled.length / 2, groups: [...coupled, ...single] }
}

/**
 * Of each group, for every pair of its inputs and every column: the sum of the positive codes, and of the negative ones without sign; and the total of
 * all.
 */
function pairSums({ codes, inputs, outputs, first, end }: PanelCodes): { readonly sums: Uint16Array; readonly totals: Uint32Array } {
  const pairLength = 2 * (end - first)
  const groups = Math.ceil(inputs / groupInputs)
  const [sums, totals] = [new Uint16Array(groups * pairLength * (groupInputs / pairInputs)), new Uint32Array(groups)]
  for (let input = 0; input < inputs; input++) {
    const row = input * outputs
    const pair = Math.floor(input / pairInputs) * pairLength
    let total = 0
    for (let column = first, at = pair; column < end; column++, at += 2) {
      const code = codes[row + column]
      if (code > 0) sums[at] += code
      else sums[at + 1] -= code
      total += Math.abs(code)
    }
    totals[Math.floor(input / groupInputs)] += total
  }
  return { sums, totals }
}

/** Bytes of the list that stands in front of a panel's weights: the number of couples, then where each group's inputs lie in a row. */
export function groupListBytes(groups: number): number {
  return roundUp(4 + 2 * groups, 16)
}

/** How many inputs that list can tell apart. */
export const mostListedInputs = 2 ** 16

export function writeGroupList(bytes: Uint8Array, at: number, { couples, groups }: GroupOrder): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at)
  view.setUint32(0, couples, true)
  for (const [i, group] of groups.entries()) view.setUint16(4 + 2 * i, groupInputs * group, true)
}

/** Adds the products of all `groups` to the sums [rows][vectors], as the panel's list says. `inputs` leads to the rows, `panel` to the list. */
export function emitCoupledProducts(
  f: FunctionBuilder,
  sums: readonly (readonly Local<'v128'>[])[],
  { inputs, panel, groups }: { readonly inputs: readonly Local<'i32'>[]; readonly panel: Local<'i32'>; readonly groups: Local<'i32'> },
): void {
  const vectors = sums[0].length
  const list = f.local('i32', panel)
  const left = f.local('i32', i32.load(list))
  const weights = f.local('i32', i32.add(panel, i32.and(i32.add(i32.shl(groups, 1), 4 + 15), -16)))
  const product = f.local('v128')
  const step = (count: 1 | 2) => {
    const offsets = Array.from({ length: count }, (_, i) => f.local('i32', i32.load16_u(list, 4 + 2 * i)))
    const activations = inputs.map((input) => offsets.map((offset) => f.local('v128', v128.load32_splat(i32.add(input, offset)))))
    for (let v = 0; v < vectors; v++) {
      const codes = offsets.map((_, i) => f.local('v128', v128.load(weights, 16 * (i * vectors + v))))
      for (const [row, factors] of activations.entries()) {
        const [first, ...others] = factors.map((factor, i) => i16x8.relaxed_dot_i8x16_i7x16_s(codes[i], factor))
        f.set(product, others.length ? i16x8.add(first, others[0]) : first)
        f.set(sums[row][v], i32x4.add(sums[row][v], i32x4.dot_i16x8_s(product, f.integers(0x10001))))
      }
    }
    f.add(list, 2 * count)
    f.add(weights, 16 * vectors * count)
    f.add(left, -1)
  }
  f.set(groups, i32.sub(groups, i32.shl(left, 1)))
  f.while(left, () => step(2))
  f.set(left, groups)
  f.while(left, () => step(1))
}
