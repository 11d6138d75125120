import { describe, expect, it } from 'vitest'
import { type ByteSource, MemoryFolder, MemorySource } from '../../src/base/bytes.js'
import { AheadSource, folderWith } from '../../src/base/read-ahead.js'

/** A source that counts how often it is read. */
class CountedSource extends MemorySource {
  reads = 0

  override read(offset: number, length: number): Promise<Uint8Array> {
    this.reads++
    return super.read(offset, length)
  }
}

describe('a source that is read ahead', () => {
  it('is read once until it is released', async () => {
    const source = new CountedSource(Uint8Array.from([1, 2, 3, 4, 5]), 'numbers')
    const ahead = new AheadSource(source)
    expect([ahead.name, ahead.size, source.reads]).toEqual(['numbers', 5, 1])
    expect([...(await ahead.read(1, 2)), ...(await ahead.read(3, 2))]).toEqual([2, 3, 4, 5])
    expect(source.reads).toBe(1)
    ahead.release()
    expect([...(await ahead.read(0, 2))]).toEqual([1, 2])
    expect(source.reads).toBe(2)
  })

  it('refuses what lies beyond the end, and gives errors to who reads', async () => {
    await expect(new AheadSource(new MemorySource(new Uint8Array(4), 'short')).read(3, 2)).rejects.toThrow('has 4')
    const broken: ByteSource = { name: 'broken', size: 4, read: () => Promise.reject(new Error('the disk failed')) }
    await expect(new AheadSource(broken).read(0, 1)).rejects.toThrow('the disk failed')
  })

  it('stands in its folder', async () => {
    const inner = new MemoryFolder(new Map([['a', Uint8Array.of(1)]]), 'folder')
    const source = new MemorySource(Uint8Array.of(2), 'b')
    expect(folderWith(inner, 'a', source).name).toBe('folder')
    const folder = folderWith(inner, 'b', source)
    expect([folder.name, await folder.open('b'), (await folder.open('a')).size, await folder.has('a')]).toEqual(['folder', source, 1, true])
    expect(await folder.list()).toEqual(['a'])
  })
})
