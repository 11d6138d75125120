/** Whole sequences that one thread runs: from `first` up to but without `end`. */
export interface SequenceBlock {
  readonly first: number
  readonly end: number
}

/**
 * Splits sequences into blocks of about as many tokens each: no more than `tokens` where sequences are not longer, and as many blocks as keep
 * `threads` busy to the end.
 *
 * @param starts [sequences + 1]: the row of each sequence's first token, and the number of tokens
 * @example
 * sequenceBlocks(Int32Array.of(0, 16, 32, 48, 64), 256, 2) // [{ first: 0, end: 2 }, { first: 2, end: 4 }]
 */
export function sequenceBlocks(starts: Int32Array, tokens: number, threads: number): SequenceBlock[] {
  const sequences = starts.length - 1
  const count = Math.ceil(Math.ceil(starts[sequences] / tokens) / threads) * threads
  const size = starts[sequences] / count
  const blocks: SequenceBlock[] = []
  let first = 0
  for (let end = 1; end <= sequences; end++) {
    const reached = starts[end] >= size * (blocks.length + 1)
    const overflows = end < sequences && starts[end + 1] - starts[first] > tokens
    if (!reached && !overflows && end < sequences) continue
    blocks.push({ first, end })
    first = end
  }
  return blocks
}
