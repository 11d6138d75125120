import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildPage } from '../../examples/train-in-browser/build.mjs'
import { load } from '../../src/commands/load.js'
import { asLines, reviews, writeTinyEncoder } from '../support/tiny-classifier.js'
import { chromiumArguments, chromiumPath } from './chromium.js'
import { serve } from './serve.js'
import { unzip } from './unzip.js'

const executablePath = chromiumPath()
const text = (page: Page, id: string) => page.locator(`#${id}`).innerText()

describe.skipIf(!executablePath)('the page that trains a classifier', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-train-page-'))
  const complaints: string[] = []
  let browser: Browser
  let page: Page
  let server: Awaited<ReturnType<typeof serve>>

  beforeAll(async () => {
    const site = path.join(folder, 'page')
    await buildPage(site)
    await writeTinyEncoder(path.join(folder, 'tiny'))
    server = await serve(
      { '/tiny/': path.join(folder, 'tiny'), '/': site },
      { '/': fs.readFileSync(path.join(site, 'index.html'), 'utf8') },
    )
    browser = await chromium.launch({ executablePath: executablePath!, args: chromiumArguments })
    page = await browser.newPage({ acceptDownloads: true })
    page.setDefaultTimeout(300_000)
    page.on('pageerror', (error) => complaints.push(error.message))
    await page.goto(server.origin)
  })

  afterAll(async () => {
    await browser?.close()
    await server?.close()
    fs.rmSync(folder, { recursive: true, force: true })
  })

  async function fill(values: Readonly<Record<string, string>>): Promise<void> {
    for (const [id, value] of Object.entries(values)) await page.fill(`#${id}`, value)
  }

  test('says what is wrong before it trains', async () => {
    await page.click('#start')
    await page.waitForSelector('#problem:not([hidden])')
    expect(await text(page, 'problem')).toContain('Choose a model')
    await fill({ examples: 'praise\ta warm film\nno label here' })
    expect(await text(page, 'counted')).toContain('line 2 has no label and text')
    await fill({ address: '/tiny', examples: 'praise\ta warm film\npraise,a funny film' })
    expect(await text(page, 'counted')).toBe('2 examples, 1 classes.')
    await page.click('#start')
    await page.waitForSelector('#problem:not([hidden])')
    expect(await text(page, 'problem')).toContain('training needs at least two classes')
    await fill({ address: '/nothing-there' })
    await page.click('#start')
    await page.waitForFunction(() => document.querySelector('#problem')?.textContent?.includes('config.json'))
  })

  test('trains, plots the loss, tells time and bytes of a step, and gives the model to Node.js', async () => {
    await fill({ address: '/tiny/', examples: asLines(reviews(80)), epochs: '8', batch: '8', rate: '0.01' })
    await page.click('#start')
    await page.waitForSelector('#curves polyline')
    await page.waitForSelector('#result:not([hidden])')
    expect(await text(page, 'step')).toBe('64 of 64')
    expect(await text(page, 'time')).toMatch(/^[\d.]+ ms$/)
    expect(await text(page, 'copied')).toMatch(/^[\d.]+ (kB|MB)$/)
    const described = (await page.getAttribute('#curves svg', 'aria-label'))!
    const [, first, last] = /smoothed: ([\d.]+) at step 1, ([\d.]+) at step 64/.exec(described)!.map(Number)
    expect(last).toBeLessThan(0.5 * first)
    expect(Number(await text(page, 'loss'))).toBeLessThan(first)
    const [, accuracy, baseline] = /Accuracy ([\d.]+) % .*: ([\d.]+) %/.exec(await text(page, 'verdict'))!.map(Number)
    expect(baseline).toBe(50)
    expect(accuracy).toBeGreaterThan(baseline)

    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#download')])
    expect(download.suggestedFilename()).toBe('tiny-classifier.zip')
    const out = path.join(folder, 'downloaded')
    unzip(fs.readFileSync((await download.path())!), out)
    expect(fs.readdirSync(out).sort()).toEqual(
      expect.arrayContaining(['README.md', 'config.json', 'onnx', 'tinsmith.json', 'tokenizer.json']),
    )
    const rows = await page
      .locator('#answers tbody tr')
      .evaluateAll((found) => found.map((row) => [...row.children].map((cell) => cell.textContent!)))
    expect(rows.length).toBe(16)
    const pipeline = await load(out)
    const answers = await pipeline.classify(rows.map(([sentence]) => sentence))
    await pipeline.dispose()
    answers.forEach(([best], i) => {
      expect(best.label).toBe(rows[i][2])
      expect(best.score).toBeCloseTo(Number(rows[i][3]), 3)
    })
  })

  test('takes a folder that was picked, and stops when it is told to', async () => {
    await fill({ address: '', epochs: '5000' })
    await page.setInputFiles('#files', path.join(folder, 'tiny'))
    await page.click('#start')
    await page.waitForFunction(() => /^[3-9] of/.test(document.querySelector('#step')?.textContent ?? ''))
    await page.click('#stop')
    await page.waitForFunction(() => document.querySelector('#status')?.textContent === 'Stopped.')
    expect(await page.isEnabled('#start')).toBe(true)
  })

  test('fits narrow and wide screens', async () => {
    for (const width of [360, 1280]) {
      await page.setViewportSize({ width, height: 800 })
      expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0)
    }
  })

  test('nothing failed unseen', () => {
    expect(complaints).toEqual([])
  })
})
