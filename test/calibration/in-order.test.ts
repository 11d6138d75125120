import { describe, expect, test } from 'vitest'
import { inOrder } from '../../src/calibration/in-order.js'

describe('inOrder', () => {
  test('gives results in the order of the items, however long each takes', async () => {
    const given: [number, number][] = []
    const slowFirst = async (item: number) => {
      for (let turn = item; turn < 5; turn++) await Promise.resolve()
      return item * item
    }
    for await (const pair of inOrder([1, 2, 3, 4], slowFirst, 3)) given.push(pair)
    expect(given).toEqual([1, 2, 3, 4].map((item) => [item, item * item]))
  })

  test.each([1, 2, 3])('has no more than %i under way, and that many while there are', async (ahead) => {
    let [underWay, most] = [0, 0]
    const start = async () => {
      most = Math.max(most, ++underWay)
      await Promise.resolve()
      underWay--
    }
    for await (const _ of inOrder([0, 1, 2, 3, 4], start, ahead)) expect(underWay).toBeLessThan(ahead)
    expect(most).toBe(ahead)
  })

  test('fails with the first failure in the order of the items', async () => {
    const start = async (item: number) => {
      if (item > 1) throw new Error(`item ${item}`)
    }
    const all = async () => {
      for await (const _ of inOrder([0, 1, 2, 3], start, 4));
    }
    await expect(all()).rejects.toThrow('item 2')
  })
})
