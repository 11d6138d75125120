import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cases } from '../engine/cases.js'
import { chromiumArguments, chromiumPath } from './chromium.js'
import { serve } from './serve.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const executablePath = chromiumPath()

interface Engine {
  isolated: boolean
  names: string[]
  run(name: string): Promise<void>
}

declare const engine: Engine

describe.skipIf(!executablePath)('ONNX Runtime Web in Chromium', () => {
  let folder: string
  let browser: Browser
  let page: Page
  let server: Awaited<ReturnType<typeof serve>>
  const complaints: string[] = []

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tinsmith-page-'))
    await build({
      entryPoints: { page: `${root}/test/browser/page.ts`, 'worker.browser': `${root}/src/engine/ort/worker.browser.ts` },
      outdir: folder,
      bundle: true,
      format: 'esm',
      platform: 'browser',
      conditions: ['onnxruntime-web-use-extern-wasm'],
      logLevel: 'error',
    })
    server = await serve(
      { '/app/': folder, '/ort/': `${root}/node_modules/onnxruntime-web/dist` },
      { '/': '<!doctype html><title>engine</title><script type="module" src="/app/page.js"></script>' },
    )
    browser = await chromium.launch({ executablePath: executablePath!, args: chromiumArguments })
    page = await browser.newPage()
    page.on('pageerror', (error) => complaints.push(error.message))
    await page.goto(server.origin)
    await page.waitForFunction(() => 'engine' in globalThis)
  })

  afterAll(async () => {
    await browser?.close()
    await server?.close()
    await rm(folder, { recursive: true, force: true })
  })

  test('the page may use threads', async () => {
    expect(await page.evaluate(() => engine.isolated)).toBe(true)
    expect(await page.evaluate(() => engine.names)).toEqual(cases.map(({ name }) => name))
  })

  for (const { name } of cases) test(name, () => page.evaluate((chosen) => engine.run(chosen), name))

  test('nothing failed unseen', () => {
    expect(complaints).toEqual([])
  })
})
