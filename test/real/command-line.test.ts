import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { bin, isBuilt, temporaryFolder, tinsmith } from '../cli/tinsmith.js'
import { modelPath, sharedPath } from '../support/shared.js'

const model = modelPath('all-MiniLM-L6-v2')
const pairs = sharedPath('data', 'stsb', 'dev.csv')
const work = temporaryFolder()
afterAll(() => fs.rmSync(work, { recursive: true }))

const environment = (name: string) => ({ TINSMITH_CACHE: path.join(work, name) })

function begin(words: readonly string[], cache: string): ChildProcess {
  return spawn(process.execPath, [bin, ...words], { env: { ...process.env, ...environment(cache) }, stdio: ['ignore', 'pipe', 'pipe'] })
}

async function until(condition: () => boolean, seconds: number): Promise<void> {
  for (let i = 0; i < 20 * seconds && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 50))
  expect(condition()).toBe(true)
}

const entriesOf = (folder: string) => (fs.existsSync(folder) ? fs.readdirSync(folder).filter((name) => !name.startsWith('.')) : [])

describe.skipIf(!isBuilt || !model || !pairs)('compressing MiniLM', () => {
  const recipe = path.join(work, 'recipe.yaml')
  fs.writeFileSync(recipe, 'passes:\n  - fuse-qkv\n  - static-int8\n')
  const words = (out: string) => ['compress', model!, out, '--recipe', recipe, '--calibrate', pairs!, '--json']

  it('goes on after it was killed, and gives the same as without', async () => {
    const out = path.join(work, 'killed')
    const child = begin(words(out), 'cache')
    await until(() => entriesOf(path.join(work, 'cache', 'steps')).length > 0, 300)
    child.kill('SIGKILL')
    await once(child, 'close')
    expect(fs.existsSync(out)).toBe(false)
    const [entry] = entriesOf(path.join(work, 'cache', 'steps'))
    const kept = JSON.parse(fs.readFileSync(path.join(work, 'cache', 'steps', entry, 'kept.json'), 'utf8'))
    const { status, stdout, stderr } = tinsmith(words(out), environment('cache'))
    expect(stderr).not.toContain('tinsmith:')
    expect(status).toBe(0)
    const { steps } = JSON.parse(stdout)
    expect(steps.slice(0, kept.reports.length)).toEqual(kept.reports)
    expect(steps[1].changed).toBeGreaterThan(20)
    expect(fs.readdirSync(work).filter((name) => name.startsWith('.'))).toEqual([])
    const whole = path.join(work, 'whole')
    expect(tinsmith([...words(whole), '--fresh'], environment('other')).status).toBe(0)
    const file = path.join('onnx', 'model_quantized.onnx')
    expect(fs.readFileSync(path.join(out, file)).equals(fs.readFileSync(path.join(whole, file)))).toBe(true)
  })

  it('stops when it is interrupted and leaves nothing', async () => {
    const out = path.join(work, 'interrupted')
    const child = begin(words(out), 'third')
    let stderr = ''
    child.stderr!.on('data', (piece) => {
      stderr += piece
    })
    await new Promise((resolve) => setTimeout(resolve, 4000))
    child.kill('SIGINT')
    const [code] = await once(child, 'close')
    expect(code).toBe(130)
    expect(stderr).toMatch(/tinsmith: Interrupted/)
    expect(fs.existsSync(out)).toBe(false)
    expect(fs.readdirSync(work).filter((name) => name.startsWith('.'))).toEqual([])
  })

  it('keeps the quality: STS-B before and after', () => {
    const out = path.join(work, 'dynamic')
    const run = tinsmith(
      ['compress', model!, out, '--recipe', 'int8-dynamic', '--evaluate', `sts=${pairs}`, '--json'],
      environment('cache'),
    )
    const { before, after } = JSON.parse(run.stdout)
    expect(before.metrics.spearman).toBeCloseTo(86.72, 1)
    expect(after.metrics.spearman).toBeGreaterThan(before.metrics.spearman - 0.3)
    expect(after.bytes).toBeLessThan(0.28 * before.bytes)
  })
})
