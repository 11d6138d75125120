import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { endOf, startChild } from './child.js'

const work = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-code-'))
afterAll(() => fs.rmSync(work, { recursive: true, force: true }))
const bundle = path.join(work, 'bundle.cjs')
fs.writeFileSync(
  bundle,
  "const twice = (x) => 2 * x\nmodule.exports = { entry: () => ({ twice, sep: require('node:path').sep }), other: () => ({ twice }) }\n",
)

/** Ends with 0 where the entry works; its cache lies in `cache`. */
function run(cache: string, more: Record<string, string> = {}): Promise<number | NodeJS.Signals | null> {
  const settings = JSON.stringify({ TINSMITH_CACHE: path.join(work, cache), ...more })
  const program = `
    import { runEntry } from './src/base/code-cache.node.ts'
    import { pathToFileURL } from 'node:url'
    Object.assign(process.env, ${settings})
    const { twice, sep } = runEntry(pathToFileURL(${JSON.stringify(bundle)}), 'entry')
    const other = runEntry(pathToFileURL(${JSON.stringify(bundle)}), 'other')
    process.exit(twice(21) === 42 && sep && other.twice === twice ? 0 : 1)`
  return endOf(startChild(program, work))
}

function kept(cache: string): string | undefined {
  const folder = path.join(work, cache, 'code')
  const [entry] = fs.existsSync(folder) ? fs.readdirSync(folder) : []
  return entry && path.join(folder, entry, 'entry')
}

describe('an entry of a bundle', () => {
  it('runs with what earlier processes compiled, to which the first few add', async () => {
    expect(await run('once')).toBe(0)
    const file = kept('once')!
    expect(fs.statSync(file).mode & 0o077).toBe(0)
    const sizes: number[] = []
    const written = new Set<number>()
    for (let i = 0; i < 6; i++) {
      expect(await run('once')).toBe(0)
      sizes.push(fs.statSync(file).size)
      written.add(fs.statSync(file).mtimeMs)
    }
    expect(sizes).toEqual([...sizes].sort((a, b) => a - b))
    expect(written.size).toBe(3)
    expect(fs.readdirSync(path.dirname(file))).toEqual(['entry'])
  })

  it.each([
    ['is cut off', (file: string) => fs.truncateSync(file, 100)],
    ['was changed', (file: string) => fs.writeFileSync(file, fs.readFileSync(file).fill(0, 200, 220))],
    ['others may write', (file: string) => fs.chmodSync(file, 0o666)],
  ])('makes anew what %s', async (reason, damage) => {
    expect(await run(reason)).toBe(0)
    const file = kept(reason)!
    const whole = fs.readFileSync(file)
    damage(file)
    expect(await run(reason)).toBe(0)
    expect(fs.statSync(file).mode & 0o077).toBe(0)
    expect(fs.readFileSync(file).length).toBe(whole.length)
  })

  it('runs without a cache', async () => {
    expect(await run('off', { TINSMITH_CODE_CACHE: 'off' })).toBe(0)
    expect(kept('off')).toBeUndefined()
    fs.writeFileSync(path.join(work, 'no-folder'), '')
    expect(await run('no-folder')).toBe(0)
  })
})
