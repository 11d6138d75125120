import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readText, writeFile } from '../../src/base/bytes.js'
import { Cache, canonicalText } from '../../src/base/cache.js'
import { endOf, startChild } from './child.js'

let work: string
beforeEach(() => {
  work = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-test-'))
})
afterEach(() => fs.rmSync(work, { recursive: true, force: true }))

const fill = (text: string) => (folder: Parameters<Parameters<Cache['put']>[1]>[0]) => writeFile(folder, 'deep/file', text)

describe('Cache', () => {
  it('gives back what was put', async () => {
    const cache = new Cache('test', { path: path.join(work, 'cache') })
    const key = await cache.key({ pass: 'x', options: [1, 2n, null] })
    expect(await cache.get(key)).toBeNull()
    expect(await cache.size()).toBe(0)
    const made = await cache.put(key, fill('text'))
    expect(await readText(made, 'deep/file')).toBe('text')
    expect(await readText((await cache.get(key))!, 'deep/file')).toBe('text')
    expect(await readText(await cache.put(key, fill('other')), 'deep/file')).toBe('text')
    expect(await cache.size()).toBe(4)
    await cache.clear()
    expect(await cache.size()).toBe(0)
    expect(await cache.get(key)).toBeNull()
    expect(await readText(made, 'deep/file')).toBe('text')
  })

  it('keeps nothing of work that failed', async () => {
    const cache = new Cache('test', { path: work })
    await expect(
      cache.put('k', async (folder) => {
        await writeFile(folder, 'half', 'x')
        throw new Error('no')
      }),
    ).rejects.toThrow('no')
    expect(fs.readdirSync(work)).toEqual([])
  })

  it('removes the least recently used entries beyond its limit', async () => {
    const cache = new Cache('test', { path: work, limit: 10 })
    const wait = () => new Promise((done) => setTimeout(done, 20))
    for (const key of ['a', 'b', 'c']) {
      await cache.put(key, fill('1234'.slice(0, 3)))
      await wait()
    }
    await cache.get('a')
    await wait()
    await cache.put('d', fill('123'))
    expect(fs.readdirSync(work).sort()).toEqual(['a', 'c', 'd'])
    await cache.put('huge', fill('x'.repeat(50)))
    expect(fs.readdirSync(work)).toEqual(['huge'])
  })

  it('is shared by processes that write, read and remove at once', async () => {
    const program = `
      import { readText, writeFile } from './src/base/bytes.js'
      import { Cache } from './src/base/cache.js'
      const cache = new Cache('test', { path: ${JSON.stringify(path.join(work, 'cache'))}, limit: 64_000 })
      for (let i = 0; i < 60; i++) {
        const key = await cache.key(i % 7)
        const text = String(i % 7).repeat(8000)
        const make = async (into) => {
          await writeFile(into, 'a', text)
          await writeFile(into, 'b/c', text)
        }
        const folder = (await cache.get(key)) ?? (await cache.put(key, make))
        for (const file of ['a', 'b/c']) if ((await readText(folder, file)) !== text) throw new Error('wrong text')
      }`
    const codes = await Promise.all([1, 2, 3].map(() => endOf(startChild(program, work))))
    expect(codes).toEqual([0, 0, 0])
    expect(fs.readdirSync(path.join(work, 'cache')).filter((name) => name.startsWith('.'))).toEqual([])
    expect(await new Cache('test', { path: path.join(work, 'cache') }).size()).toBeLessThanOrEqual(112_000)
  })
})

describe('canonicalText', () => {
  it('does not depend on the order of names', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.double(), fc.bigInt(), fc.boolean())), (value) => {
        const reversed = Object.fromEntries(Object.entries(value).reverse())
        expect(canonicalText(reversed)).toBe(canonicalText(value))
      }),
    )
  })

  it('tells different values apart', () => {
    const values = [null, 0, -0, 1, 1n, '1', true, 'true', Number.NaN, [], {}, [1, 2], [[1], 2], { a: 1 }, { a: '1' }, { b: 1 }, ['a', 1]]
    expect(new Set(values.map(canonicalText)).size).toBe(values.length)
    expect(canonicalText({ a: undefined, b: 1 })).toBe('{"b":1}')
  })
})
