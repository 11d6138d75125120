import { roundUp } from './plan/steps.js'

/** Inputs of a group, whose products of bytes are made at once, and added in pairs: to numbers of 16 bits. */
const [groupInputs, pairInputs] = [4, 2]

/** How many of the groups that wait for another one are tried, which keeps the time proportional to the groups. */
export const mostTried = 32

/** Bytes of a list are a multiple of it. */
export const listMultiple = 64

/** How many inputs the list of a panel can tell apart. */
export const mostListedInputs = 2 ** 16

/** Bytes of the list that stands in front of a panel's weights: the number of couples, then where each group's inputs lie in a row. */
export function groupListBytes(groups: number): number {
  return roundUp(4 + 2 * groups, listMultiple)
}

/** How large the codes of one sign of two pairs may be in all: their products with codes of up to `highest` then fit in 16 bits. */
export function largestPairSum(highest: number): number {
  return Math.floor((2 ** 15 - 1) / highest)
}

/**
 * Joins groups of inputs in couples, so that the pairs of products of both add up within 16 bits in all columns, with any codes of up to `highest`:
 * then these sums are widened once for both. Couples come first, one group behind the other, then the groups that are alone. Each group in turn takes
 * the last one of those that wait with which it fits, or waits itself; whichever waits last takes its place.
 *
 * @param panel the list, to be written, and behind it the weights [groups][columns][4 inputs], in the order of the inputs
 */
export function coupleGroups(panel: Uint8Array, groups: number, highest: number): void {
  const listBytes = groupListBytes(groups)
  const weights = panel.slice(listBytes)
  const { couples, order } = orderOf(new Int8Array(weights.buffer), groups, largestPairSum(highest))
  const list = new DataView(panel.buffer, panel.byteOffset, listBytes)
  list.setUint32(0, couples, true)
  const bytes = weights.length / groups
  for (const [place, group] of order.entries()) {
    list.setUint16(4 + 2 * place, groupInputs * group, true)
    panel.set(weights.subarray(group * bytes, (group + 1) * bytes), listBytes + place * bytes)
  }
}

function orderOf(weights: Int8Array, groups: number, limit: number): { readonly couples: number; readonly order: readonly number[] } {
  const sums = pairSums(weights)
  const length = sums.length / groups
  const fits = (a: number, b: number) => {
    for (let i = a * length, j = b * length; i < (a + 1) * length; i++, j++) if (sums[i] + sums[j] > limit) return false
    return true
  }
  const [coupled, waiting]: [number[], number[]] = [[], []]
  for (let group = 0; group < groups; group++) {
    const end = Math.max(0, waiting.length - mostTried)
    let at = waiting.length - 1
    while (at >= end && !fits(waiting[at], group)) at--
    if (at < end) waiting.push(group)
    else {
      coupled.push(waiting[at], group)
      waiting[at] = waiting[waiting.length - 1]
      waiting.pop()
    }
  }
  return { couples: coupled.length / 2, order: [...coupled, ...waiting] }
}

/** Of every pair of codes the sum of the positive ones, and of the negative ones without sign. */
function pairSums(weights: Int8Array): Uint16Array {
  const sums = new Uint16Array(weights.length)
  for (let i = 0; i < weights.length; i += pairInputs) {
    const [a, b] = [weights[i], weights[i + 1]]
    const positive = (a > 0 ? a : 0) + (b > 0 ? b : 0)
    sums[i] = positive
    sums[i + 1] = positive - a - b
  }
  return sums
}
