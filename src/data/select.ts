/**
 * `count` rows spread evenly over all (all of them where there are fewer), so that sorted or clustered files are not
 * seen from one end only.
 *
 * @example
 * sampleEvenly([0, 1, 2, 3, 4, 5], 3) // [0, 2, 4]
 */
export function sampleEvenly<T>(rows: readonly T[], count: number): T[] {
  if (count >= rows.length) return [...rows]
  return Array.from({ length: count }, (_, i) => rows[Math.floor((i * rows.length) / count)])
}

/**
 * How alike texts begin: the share of texts whose first two words another of them begins with too, 0 to 1. A few hundred
 * calibration texts above one half are worth a warning (300 captions "A man is ..." give 0.84, mixed sentences 0.2).
 *
 * @example
 * narrowness(['A man runs', 'a man sits', 'Stocks fell']) // 2 / 3
 */
export function narrowness(texts: readonly string[]): number {
  const beginnings = texts.map(beginning)
  const counts = new Map<string, number>()
  for (const words of beginnings) counts.set(words, (counts.get(words) ?? 0) + 1)
  return texts.length ? beginnings.filter((words) => counts.get(words)! > 1).length / texts.length : 0
}

function beginning(text: string): string {
  return text.trim().toLowerCase().split(/\s+/, 2).join(' ')
}

/**
 * Batches of neighbours in length, so that little is padded: lists of indexes, the longest texts first.
 *
 * @param lengths of the items, in tokens
 * @param size items in a batch
 * @example
 * batches([3, 9, 5], 2) // [[1, 2], [0]]
 */
export function batches(lengths: readonly number[], size: number): number[][] {
  const order = lengths.map((_, index) => index).sort((a, b) => lengths[b] - lengths[a] || a - b)
  return Array.from({ length: Math.ceil(order.length / size) }, (_, i) => order.slice(i * size, (i + 1) * size))
}
