import fs from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ByteSource, MemorySource } from '../../src/base/bytes.js'
import {
  batches,
  detectFormat,
  narrowness,
  readDelimited,
  readLines,
  readSamples,
  sampleEvenly,
  type TableOptions,
  type TextSample,
} from '../../src/data/index.js'
import { sharedPath } from '../support/shared.js'

const bytes = (text: string) => new TextEncoder().encode(text)
const file = (text: string, name = 'file.csv') => new MemorySource(bytes(text), name)

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}

const samplesOf = async (text: string, options: TableOptions = {}, name = 'file.csv'): Promise<readonly TextSample[]> =>
  (await readSamples(file(text, name), options)).samples

const cells = async (text: string, delimiter = ',') => (await all(readDelimited(file(text), delimiter))).map((row) => row.cells)

describe('readDelimited', () => {
  it('reads back what a CSV writer writes, for all cells and line ends', async () => {
    const cell = fc.string({ unit: fc.constantFrom('a', 'é', '🙂', '"', ',', '\n', '\r', ' ', ';') })
    const rows = fc.array(fc.array(cell, { minLength: 1, maxLength: 4 }), { maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(rows, fc.constantFrom('\n', '\r\n', '\r'), fc.boolean(), async (table, end, mark) => {
        const quote = (text: string, alone: boolean) =>
          /[",\n\r]/.test(text) || (alone && !text) ? `"${text.replaceAll('"', '""')}"` : text
        const written = table.map((row) => row.map((text) => quote(text, row.length === 1)).join(',')).join(end)
        expect(await cells((mark ? '\uFEFF' : '') + written)).toEqual(table)
      }),
    )
  })

  it('counts lines by the file, blank lines and line breaks inside cells too', async () => {
    const rows = await all(readDelimited(file('a,b\r\n\r\n"x\ny",2\r\nlast,3'), ','))
    expect(rows.map(({ line }) => line)).toEqual([1, 3, 5])
  })

  it('takes quotes inside unquoted cells and, between tabs, unbalanced ones as characters', async () => {
    expect(await cells('5" nails,2')).toEqual([['5" nails', '2']])
    expect(await cells('"Hello" he said\t1\n"a ""b"""\t2', '\t')).toEqual([
      ['"Hello" he said', '1'],
      ['a "b"', '2'],
    ])
  })

  it('names the line of a quote that is never closed and of text after a closing one', async () => {
    await expect(cells('a,b\n"open,c\nd')).rejects.toMatchObject({ code: 'bad-input', message: 'a quote is never closed (line 2)' })
    await expect(cells('"a"b,c')).rejects.toMatchObject({ message: 'text follows a closing quote (line 1)' })
  })

  it('never does more than refuse mutated files', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (content) => {
        await readSamples(new MemorySource(content, 'x')).catch((error) => expect(error.code).toMatch('bad-input'))
      }),
    )
  })
})

describe('readLines', () => {
  it('joins lines and characters across the pieces that are read', async () => {
    const text = `${'é🙂'.repeat(400_000)}\r\nsecond\n`
    expect((await all(readLines(file(text)))).map((line) => line.text.length)).toEqual([1_200_000, 6])
  })

  it('refuses bytes that are no text', async () => {
    const binary: ByteSource = new MemorySource(Uint8Array.of(0x41, 0xff, 0xfe, 0x0a), 'weights.bin')
    await expect(all(readLines(binary))).rejects.toMatchObject({ code: 'bad-input', where: 'weights.bin' })
    await expect(all(readLines(file('a\0b')))).rejects.toMatchObject({ code: 'bad-input' })
  })
})

describe('samples', () => {
  const pairs = [{ texts: ['a b', 'c'], label: 4.5 }]

  it('finds texts and labels with and without a header', async () => {
    expect(await samplesOf('a b,c,4.5\n', { texts: 2, label: 'number' })).toEqual(pairs)
    expect(await samplesOf('left,right,rating\na b,c,4.5\n')).toEqual(pairs)
    expect(await samplesOf('id,sentence1,sentence2,score\n9,a b,c,4.5\n')).toEqual(pairs)
    expect(await samplesOf('text,label\ngood,positive\n', { label: 'class' })).toEqual([{ texts: ['good'], label: 'positive' }])
    expect(await samplesOf('a b\tc\t4.5\n', {}, 'x.tsv')).toEqual(pairs)
    expect(await samplesOf('{"sentence1":"a b","sentence2":"c","score":4.5}\n', {}, 'x.jsonl')).toEqual(pairs)
    expect(await samplesOf('1,fine film\n0,"bad, long"\n')).toEqual([
      { texts: ['fine film'], label: 1 },
      { texts: ['bad, long'], label: 0 },
    ])
  })

  it('keeps a first row that is no header', async () => {
    expect(await samplesOf('a,x\nb,y\n', { label: 'class' })).toHaveLength(2)
    expect(await samplesOf('a,b,1\nc,d,2\n')).toHaveLength(2)
  })

  it('reads LABEL lines and plain lines', async () => {
    expect(await samplesOf('1 good film\n0 bad\n', {}, 'x.txt')).toEqual([
      { texts: ['good film'], label: 1 },
      { texts: ['bad'], label: 0 },
    ])
    expect(await samplesOf('__label__en hello\n__label__de hallo\n', {}, 'x.txt')).toMatchObject([{ label: 'en' }, { label: 'de' }])
    expect(await samplesOf('Some text, plainly.\n\n2 words\n', {}, 'x.txt')).toEqual([
      { texts: ['Some text, plainly.'] },
      { texts: ['2 words'] },
    ])
  })

  it('lets columns override', async () => {
    const text = 'q,a,n,l\nwhat,that,x,3\nwho,he,y,4\n'
    expect((await samplesOf(text, { columns: 'text=0,text2=1,label=3' }))[0]).toEqual({ texts: ['what', 'that'], label: 3 })
    expect((await samplesOf(text, { columns: 'text=a, label=n' }))[1]).toEqual({ texts: ['he'], label: 'y' })
    await expect(samplesOf(text, { columns: 'text=b' })).rejects.toMatchObject({ code: 'usage', hint: 'Did you mean "q"?' })
    await expect(samplesOf(text, { columns: 'label=0' })).rejects.toMatchObject({ code: 'usage' })
    await expect(samplesOf(text, { columns: 'rubbish' })).rejects.toMatchObject({ code: 'usage' })
    await expect(samplesOf(text, { columns: 'text=7' })).rejects.toMatchObject({ message: 'line 2 has 4 columns where 8 are expected' })
  })

  it('says the line and what is expected', async () => {
    const sts = { texts: 2, label: 'number' } as const
    await expect(samplesOf('only one\n', sts)).rejects.toMatchObject({
      message: 'line 1 has 1 column where two texts and a number are expected',
    })
    await expect(samplesOf('a,b,c,d,e\n')).rejects.toMatchObject({ message: 'line 1 has 5 columns where one or two texts are expected' })
    await expect(samplesOf('a,b,1\nc,d\n', sts)).rejects.toMatchObject({ message: 'line 2 has 2 columns where 3 are expected' })
    await expect(samplesOf('a,b,1\nc,d,two\n', sts)).rejects.toMatchObject({ message: 'line 2 has the label "two", which is no number' })
    await expect(samplesOf('1 good\n0 bad\n', sts, 'x.txt')).rejects.toMatchObject({ message: 'line 1 has 1 text where 2 are expected' })
    await expect(samplesOf('{"text":"a"}\n[1]\n', {}, 'x.jsonl')).rejects.toMatchObject({
      message: 'line 2 is neither a JSON object nor a text',
    })
    await expect(samplesOf('', sts)).rejects.toMatchObject({ code: 'bad-input', message: 'the file holds no samples' })
    await expect(samplesOf('sentence1,sentence2,score\n', sts)).rejects.toMatchObject({ message: 'the file holds no samples' })
  })

  it('notes labels of one class and empty texts', async () => {
    expect((await readSamples(file('a,1\n"",1\n'))).notes).toEqual(['All 2 samples have the label 1.', '1 sample of 2 have an empty text.'])
  })

  it('detects formats by content', async () => {
    const format = (text: string) => detectFormat(file(text, 'data'))
    expect(await format('a,b,1.5\nc,d,2\n')).toBe('csv')
    expect(await format('a\tb\nc\td\n')).toBe('tsv')
    expect(await format('{"text":"a"}\n{"text":"b"}')).toBe('jsonl')
    expect(await format('2 books\n2 films\n')).toBe('labelled')
    expect(await format('A line.\n2 films\n')).toBe('text')
  })
})

describe('selection', () => {
  it('samples every k-th row', () => {
    const rows = Array.from({ length: 5749 }, (_, i) => i)
    const chosen = sampleEvenly(rows, 300)
    expect(chosen).toHaveLength(300)
    expect(new Set(chosen.slice(1).map((row, i) => row - chosen[i]))).toEqual(new Set([19, 20]))
    expect(sampleEvenly([1, 2], 5)).toEqual([1, 2])
  })

  it('makes batches of all items, longest first, that differ in length as little as they can', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(50)), fc.integer({ min: 1, max: 8 }), (lengths, size) => {
        const made = batches(lengths, size)
        expect(made.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, i) => i))
        expect(made.flat().map((i) => lengths[i])).toEqual([...lengths].sort((a, b) => b - a))
        expect(made.every((batch, i) => batch.length === size || i === made.length - 1)).toBe(true)
      }),
    )
  })

  it('tells narrow texts from mixed ones', () => {
    expect(narrowness(['A man runs', 'a man sits', 'Stocks fell'])).toBeCloseTo(2 / 3)
    expect(narrowness([])).toBe(0)
  })
})

describe('shared data', () => {
  const [dev, train, sst2, trec] = [
    ['stsb', 'dev.csv'],
    ['stsb', 'train.csv'],
    ['sst2', 'dev.txt'],
    ['trec', 'train.txt'],
  ].map((parts) => sharedPath('data', ...parts))
  const open = (path: string) => new MemorySource(fs.readFileSync(path), path)

  it.skipIf(!dev || !train)('reads STS-B whole, and finds its first captions narrow', async () => {
    const { samples, notes } = await readSamples(open(dev!), { texts: 2, label: 'number' })
    expect(samples).toHaveLength(1500)
    expect(samples[103].texts[1]).toBe('A boy sits on a bed, sings and plays a guitar.')
    expect(notes).toEqual([])
    const texts = (await readSamples(open(train!))).samples.map((sample) => sample.texts[0])
    expect(narrowness(texts.slice(0, 300))).toBeGreaterThan(0.7)
    expect(narrowness(sampleEvenly(texts, 300))).toBeLessThan(0.4)
  })

  it.skipIf(!sst2 || !trec)('reads SST-2 and TREC', async () => {
    expect((await readSamples(open(sst2!), { label: 'class' })).samples).toHaveLength(872)
    const questions = await readSamples(open(trec!), { label: 'class' })
    expect(new Set(questions.samples.map(({ label }) => label))).toEqual(new Set([0, 1, 2, 3, 4, 5]))
    expect(questions.notes).toEqual(['1 sample of 5452 have bytes that are no UTF-8.'])
  })
})
