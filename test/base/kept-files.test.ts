import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { keep, keepWithBody, keptFile, openKept, readKept, thisScript } from '../../src/base/kept-files.node.js'

const work = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-kept-'))
vi.stubEnv('TINSMITH_CACHE', work)
afterEach(() => fs.rmSync(work, { recursive: true, force: true }))

const daysAgo = (days: number) => Date.now() / 1000 - days * 86_400

const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i)

describe('kept files', () => {
  it('give back what was kept, by script and name', () => {
    const file = keptFile('/somewhere/script-1.cjs', 'part')!
    expect(readKept(file)).toBeUndefined()
    keep(file, bytes)
    expect(Uint8Array.from(readKept(file)!)).toEqual(bytes)
    expect(fs.statSync(file).mode & 0o077).toBe(0)
    expect(readKept(keptFile('/somewhere/script-2.cjs', 'part')!)).toBeUndefined()
    expect(readKept(keptFile('/somewhere/script-1.cjs', 'other')!)).toBeUndefined()
  })

  it('have a body that is read into memory, and are used from then on', async () => {
    const file = keptFile('script', 'program', { threads: 2 })!
    const body = [Uint8Array.from({ length: 3000 }, (_, i) => 7 * i), Uint8Array.of(1, 2, 3)]
    await keepWithBody(file, bytes, body)
    fs.utimesSync(file, daysAgo(20), daysAgo(20))
    const kept = openKept(file)!
    const memory = new Uint8Array(kept.bodyBytes)
    await kept.readBody(memory)
    expect([Uint8Array.from(kept.head), memory]).toEqual([bytes, Uint8Array.from(body.flatMap((piece) => [...piece]))])
    expect(Date.now() / 1000 - fs.statSync(file).mtimeMs / 1000).toBeLessThan(60)
    expect(openKept(keptFile('script', 'program', { threads: 1 })!)).toBeUndefined()
    expect(fs.readdirSync(path.dirname(file))).toEqual([path.basename(file)])
  })

  it('leave nothing where they cannot be written', async () => {
    const file = keptFile('script', 'part')!
    fs.mkdirSync(path.join(file, 'in the way'), { recursive: true })
    keep(file, bytes)
    await keepWithBody(file, bytes, [bytes])
    expect(fs.readdirSync(path.dirname(file))).toEqual(['part'])
  })

  it('are not believed where others may write them, or their head is not whole', () => {
    const file = keptFile('script', 'part')!
    keep(file, bytes)
    fs.chmodSync(file, 0o622)
    expect(readKept(file)).toBeUndefined()
    fs.chmodSync(file, 0o600)
    expect(readKept(file)).toBeDefined()
    fs.truncateSync(file, 500)
    expect(readKept(file)).toBeUndefined()
    fs.truncateSync(file, 3)
    expect(readKept(file)).toBeUndefined()
  })

  it('go when they were not used for a month', () => {
    const [old, recent, fresh] = ['old', 'recent', 'fresh'].map((script) => keptFile(script, 'part')!)
    for (const [file, days] of [
      [old, 31],
      [recent, 29],
    ] as const) {
      keep(file, bytes)
      fs.utimesSync(file, daysAgo(days), daysAgo(days))
    }
    keep(fresh, bytes)
    expect([old, recent, fresh].map((file) => readKept(file) !== undefined)).toEqual([false, true, true])
  })

  it('go from 4 GiB on, those first that were not used for longest', () => {
    const files = ['first', 'second', 'third'].map((name) => keptFile('script', name)!)
    for (const [i, file] of files.entries()) {
      keep(file, bytes)
      fs.truncateSync(file, 2 ** 31 - 100)
      fs.utimesSync(file, daysAgo(3 - i), daysAgo(3 - i))
    }
    keep(keptFile('script', 'fresh')!, bytes)
    expect(files.map((file) => fs.existsSync(file))).toEqual([false, true, true])
  })

  it('are not kept for modules that may change under their names', () => {
    expect(thisScript).toBeUndefined()
  })
})
