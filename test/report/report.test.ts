import { describe, expect, it } from 'vitest'
import { MemoryFolder, readJson, readText } from '../../src/base/bytes.js'
import { reportHtml, writeReport } from '../../src/report/index.js'
import { bytesText, changeText, countText, plainNumber, secondsText } from '../../src/report/words.js'
import { sample } from './sample.js'

describe('report', () => {
  it('writes the same document as JSON and as a page', async () => {
    const folder = new MemoryFolder()
    await writeReport(folder, sample)
    expect(await folder.list()).toEqual(['report.html', 'report.json'])
    expect(await readJson(folder, 'report.json')).toEqual(JSON.parse(JSON.stringify(sample)))
    expect(await readText(folder, 'report.html')).toBe(reportHtml(sample))
  })

  it('shows sizes, metrics, speed, steps, refusals, warnings and how to repeat them', () => {
    const page = reportHtml(sample)
    const shown = [
      '3.91 times smaller',
      '90.4 MB',
      '86.61',
      '−0.11',
      '1.78 times as fast',
      '4.1e-7',
      '74 s',
      'static-int8.samples=64',
      '1.2000',
      'equal',
      '24 dB',
      '0.99900',
    ]
    for (const text of shown) expect(page).toContain(text)
    for (const { refused } of sample.steps) for (const { what } of refused) expect(page.replaceAll('<wbr>', '')).toContain(what)
    for (const warning of sample.warnings) expect(page).toContain(warning)
    for (const { sha256 } of sample.origin.source.files) expect(page).toContain(sha256)
    expect(page).toContain(
      'tinsmith compress sentence-transformers/all-MiniLM-L6-v2 OUT --recipe int8 --set static-int8.samples=64 --calibrate sentences.csv',
    )
  })

  it('escapes what comes from models and recipes', () => {
    const page = reportHtml({ ...sample, warnings: ['<script>alert("x")</script>'] })
    expect(page).not.toContain('<script')
    expect(page).toContain('&#60;script&#62;')
  })

  it('loads nothing from outside', () => {
    expect(reportHtml(sample)).not.toMatch(/\b(?:src|href)=|@import|url\(|https?:/)
  })

  it('leaves out what is not known', () => {
    const bare = { ...sample, steps: [], blocks: undefined, warnings: [], baseline: undefined, task: undefined }
    const page = reportHtml({
      ...bare,
      before: { bytes: 400, metrics: {} },
      after: { bytes: 400, metrics: {} },
      origin: { ...sample.origin, recipe: null, calibration: null },
    })
    for (const heading of ['Quality', 'Block by block', 'Steps', 'Warnings', 'Speed']) expect(page).not.toContain(`>${heading}<`)
    expect(page).toContain('the same')
    expect(page).toContain('tinsmith convert')
    expect(page).not.toContain('undefined')
  })

  it('opens and closes every element', () => {
    const open: string[] = []
    for (const [, end, name, , empty] of reportHtml(sample).matchAll(/<(\/?)([a-z][a-z0-9]*)((?:[^>"]|"[^"]*")*?)(\/?)>/g)) {
      if (empty || name === 'meta' || name === 'wbr') continue
      if (end) expect(open.pop()).toBe(name)
      else open.push(name)
    }
    expect(open).toEqual([])
  })

  it('writes numbers for people', () => {
    expect([0, 999, 1000, 23_114_882, 4.5e9].map(bytesText)).toEqual(['0 bytes', '999 bytes', '1 kB', '23.1 MB', '4.5 GB'])
    expect([0, 0.0123, -3.25, 1113.4, 1.25e-6, 1e7].map((value) => plainNumber(value))).toEqual([
      '0',
      '0.0123',
      '−3.25',
      '1,113',
      '1.3e-6',
      '10,000,000',
    ])
    expect([changeText(86.72, 86.61), changeText(0.4, 0.5), changeText(1, 1)]).toEqual(['−0.11', '+0.1000', '±0.0000'])
    expect([512, 22_713_216, 1.1e9].map(countText)).toEqual(['512', '22.7 million', '1.1 billion'])
    expect([0.001, 1.34, 74.2, 125].map(secondsText)).toEqual(['< 0.01 s', '1.3 s', '74 s', '2 min 5 s'])
  })
})
