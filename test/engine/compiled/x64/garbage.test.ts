import { expect, it, vi } from 'vitest'
import { returnMemorySoon } from '../../../../src/engine/compiled/x64/garbage.node.js'

/** In a function of its own, so that no frame of the test holds the array. */
function forgotten(): WeakRef<ArrayBuffer> {
  return new WeakRef(new ArrayBuffer(2 ** 20))
}

it('collects what nobody holds, keeps what somebody holds, and leaves nothing that counts', async () => {
  const kept = Float32Array.of(1, 2, 3)
  const before = process.memoryUsage().arrayBuffers
  const array = forgotten()
  returnMemorySoon()
  returnMemorySoon()
  await vi.waitFor(() => expect(array.deref() === undefined).toBe(true), { timeout: 20_000, interval: 100 })
  expect([...kept]).toEqual([1, 2, 3])
  expect(process.memoryUsage().arrayBuffers).toBeLessThan(before + 2 ** 24)
}, 30_000)
