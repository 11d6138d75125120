// Batches of token ids, in Node.js and in browsers.

/** As many rows of ids as a batch of full width has. */
export const fullBatch = (rows, width) =>
  Array.from({ length: rows }, (_, row) => Array.from({ length: width }, (_, i) => 1000 + (((row * width + i) * 7919) % 20000)))

/** Things in a certain order, so many at a time. */
export const inBatches = (order, of, size) =>
  Array.from({ length: Math.ceil(order.length / size) }, (_, i) => order.slice(i * size, (i + 1) * size).map((k) => of[k]))

/** Feeds of an encoder: the ids of texts, padded to the longest. */
export function encoderFeeds(rows, array) {
  const width = Math.max(...rows.map((ids) => ids.length))
  const filled = (of) =>
    array([rows.length, width], BigInt64Array.from(rows.flatMap((ids) => Array.from({ length: width }, (_, i) => of(ids, i)))))
  return {
    input_ids: filled((ids, i) => BigInt(ids[i] ?? 0)),
    attention_mask: filled((ids, i) => BigInt(i < ids.length)),
    token_type_ids: filled(() => 0n),
  }
}

/** Milliseconds that the work takes. */
export async function timed(work) {
  const start = performance.now()
  await work()
  return performance.now() - start
}
