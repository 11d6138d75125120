/**
 * Each item with what came of it, in order, while some of those that follow are under way already.
 *
 * @param start is called for one item after the other
 * @param ahead how many are under way at a time, the one that is waited for included
 * @example
 * for await (const [n, square] of inOrder([1, 2, 3], async (n) => n * n, 2)) console.log(n, square)
 */
export async function* inOrder<Item, Result>(
  items: readonly Item[],
  start: (item: Item, index: number) => Promise<Result>,
  ahead: number,
): AsyncGenerator<[Item, Result]> {
  const underWay: Promise<Result>[] = []
  let next = 0
  for (const item of items) {
    for (; next < items.length && underWay.length < ahead; next++) {
      const result = start(items[next], next)
      // Who waits for an earlier one hears of the first failure.
      result.catch(() => {})
      underWay.push(result)
    }
    yield [item, await underWay.shift()!]
  }
}
