import { beforeEach, describe, expect, it } from 'vitest'
import { moduleOf } from '../../../../src/engine/compiled/wasm/backend.js'
import { kernel } from '../../../../src/engine/compiled/wasm/kernels/kernel.js'
import { slotHeader } from '../../../../src/engine/compiled/wasm/layout.js'
import { baselineFeatures } from '../../../../src/engine/compiled/wasm/module.js'
import type { Drive } from '../../../../src/engine/compiled/wasm/protocol.js'
import { i32 } from '../../../../src/engine/compiled/wasm/values.js'

/** Counts how often it is called. */
const counting = kernel('count', { place: 0 }, (f, w) => f.do(i32.store(w.place, i32.add(i32.load(w.place), 1))))
const { bytes, functions, start } = moduleOf([counting], { pages: 1, shared: true }, baselineFeatures)

/** Addresses: the slot's header, lists and the counters that their calls count in. */
const [header, entry, share, alone, shareCounter, aloneCounter] = [1024, 2048, 3072, 4096, 5120, 6144]

describe('a team of two threads', () => {
  let words: Int32Array
  let drive: Drive
  const word = (name: Exclude<keyof typeof slotHeader, 'bytes'>) => (header + slotHeader[name]) / 4
  const begin = () => drive(entry, 1, header)
  const counts = () => [words[shareCounter / 4], words[aloneCounter / 4], words[word('done')]]

  beforeEach(async () => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true })
    const { instance } = await WebAssembly.instantiate(bytes, { env: { memory } })
    drive = instance.exports['drive'] as Drive
    words = new Int32Array(memory.buffer)
    const list = (at: number, counter: number, calls: number) => {
      for (let call = 0; call < calls; call++) words.set([functions[0], at + 512], at / 4 + 2 * call)
      words[(at + 512) / 4] = counter
    }
    list(share, shareCounter, 1)
    list(alone, aloneCounter, 3)
    words.set([start!, entry + 8, header, 2, share, 1, alone, 3], entry / 4)
  })

  it('leaves all work to the first where the other does not come, who finds nothing to do then', () => {
    begin()
    expect(counts()).toEqual([0, 3, 1])
    begin()
    expect(counts()).toEqual([0, 3, 1])
  })

  it('shares the work where both are there', () => {
    words[word('arrived')] = 1
    words[word('decision')] = 1
    begin()
    expect(counts()).toEqual([1, 0, 0])
  })

  it('does nothing where the run was cancelled', () => {
    Atomics.store(words, word('cancel'), 1)
    begin()
    expect(counts()).toEqual([0, 0, 0])
    words[word('arrived')] = 1
    words[word('cancel')] = 0
    words[word('decision')] = 2
    begin()
    expect(counts()).toEqual([0, 0, 0])
  })
})
