import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { keep, keptFile, readKept, thisScript } from '../../src/base/kept-files.node.js'

const work = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-kept-'))
vi.stubEnv('TINSMITH_CACHE', work)
afterEach(() => fs.rmSync(work, { recursive: true, force: true }))

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

  it('go with scripts that have kept nothing new for a month', () => {
    const [old, recent, fresh] = ['old', 'recent', 'fresh'].map((script) => keptFile(script, 'part')!)
    const daysAgo = (days: number) => Date.now() / 1000 - days * 86_400
    for (const [file, days] of [
      [old, 31],
      [recent, 29],
    ] as const) {
      keep(file, bytes)
      fs.utimesSync(path.dirname(file), daysAgo(days), daysAgo(days))
    }
    keep(fresh, bytes)
    expect([old, recent, fresh].map((file) => readKept(file) !== undefined)).toEqual([false, true, true])
  })

  it('are not kept for modules that may change under their names', () => {
    expect(thisScript).toBeUndefined()
  })
})
