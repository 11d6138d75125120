import { createHash } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { MemorySource, readText, writeFile } from '../../src/base/bytes.js'
import * as browser from '../../src/base/platform.browser.js'
import type { Platform } from '../../src/base/platform.js'
import * as node from '../../src/base/platform.node.js'
import { Sha256 } from '../../src/base/sha256.js'
import { errorOf } from '../support/errors.js'
import { endOf, startChild } from './child.js'

/** Both twins are a Platform and nothing else: the compiler compares the types, the first test the names. */
const twins: readonly Platform[] = [node, browser] satisfies readonly (Platform &
  Record<Exclude<keyof typeof node | keyof typeof browser, keyof Platform>, never>)[]

let work: string
beforeEach(() => {
  work = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-test-'))
})
afterEach(() => {
  vi.unstubAllEnvs()
  fs.rmSync(work, { recursive: true, force: true })
})

const at = (...parts: string[]) => path.join(work, ...parts)

it('has two twins of the same names', () => {
  const [first, second] = twins.map((twin) => Object.keys(twin).sort())
  expect(first).toEqual(second)
})

describe('openFile', () => {
  it('reads any range, also misaligned, into memory of its own', async () => {
    const bytes = Uint8Array.from({ length: 5000 }, (_, i) => i % 251)
    fs.writeFileSync(at('x'), bytes)
    const source = await node.openFile(at('x'))
    await fc.assert(
      fc.asyncProperty(fc.nat(5000), fc.nat(5000), async (offset, length) => {
        length = Math.min(length, 5000 - offset)
        const read = await source.read(offset, length)
        expect(read).toEqual(bytes.slice(offset, offset + length))
        expect([read.constructor, read.byteOffset]).toEqual([Uint8Array, 0])
      }),
    )
    expect((await errorOf(source.read(4999, 2))).code).toBe('bad-input')
    await source.close()
    await expect(source.read(0, 1)).rejects.toThrow('closed')
  })

  it('says what is wrong with what is no file', async () => {
    expect((await errorOf(node.openFile(at('none')))).sentence).toContain('does not exist')
    expect((await errorOf(node.openFile(work))).sentence).toContain('a folder')
    expect((await errorOf(node.openFile('/dev/zero'))).sentence).toContain('no plain file')
    fs.writeFileSync(at('cut'), 'abcdef')
    const source = await node.openFile(at('cut'))
    fs.truncateSync(at('cut'), 2)
    expect((await errorOf(source.read(0, 6))).sentence).toContain('became shorter')
  })
})

describe('openFolder', () => {
  it('lists files below it, sorted, and opens them', async () => {
    fs.mkdirSync(at('m', 'onnx'), { recursive: true })
    fs.mkdirSync(at('m', '.git'))
    for (const file of ['m/onnx/model.onnx', 'm/config.json', 'm/.git/x']) fs.writeFileSync(at(file), file)
    fs.symlinkSync('.', at('m', 'circle'))
    const folder = await node.openFolder(at('m'))
    expect(await folder.list()).toEqual(['config.json', 'onnx/model.onnx'])
    expect(await readText(folder, 'onnx/model.onnx')).toBe('m/onnx/model.onnx')
    expect([await folder.has('config.json'), await folder.has('onnx'), await folder.has('none')]).toEqual([true, false, false])
    expect((await errorOf(folder.open('confg.json'))).sentence).toContain('Did you mean "config.json"?')
    expect((await errorOf(node.openFolder(at('none')))).code).toBe('bad-input')
    expect((await errorOf(node.openFolder(at('m/config.json')))).code).toBe('bad-input')
  })

  it('never leaves the folder, neither by path nor by symbolic link', async () => {
    fs.mkdirSync(at('m'))
    fs.mkdirSync(at('model-2'))
    fs.writeFileSync(at('secret'), 'secret')
    fs.writeFileSync(at('model-2', 'secret'), 'secret')
    fs.writeFileSync(at('m', 'real'), 'real')
    fs.symlinkSync('../secret', at('m', 'link'))
    fs.symlinkSync('..', at('m', 'up'))
    fs.symlinkSync('real', at('m', 'alias'))
    fs.symlinkSync('loop', at('m', 'loop'))
    const folder = await node.openFolder(at('m'))
    for (const outside of [
      '../secret',
      'link',
      'up/secret',
      at('secret'),
      'a/../../secret',
      '',
      '.',
      '..',
      '../model-2/secret',
      'a\0b',
      'up/m/../secret',
    ])
      expect((await errorOf(folder.open(outside))).sentence, outside).toContain('leads out of the folder')
    expect((await errorOf(folder.open('loop'))).sentence).toContain('go round in a circle')
    expect(await readText(folder, 'alias')).toBe('real')
    expect(await readText(folder, 'up/m/real').catch(() => 'refused')).toBe('real')
    expect(await folder.list()).toEqual(['alias', 'link', 'real'])
  })

  it("follows the links of a Hugging Face cache to the same repository's blobs only", async () => {
    for (const name of ['a', 'b']) {
      fs.mkdirSync(at(`models--o--${name}/blobs`), { recursive: true })
      fs.mkdirSync(at(`models--o--${name}/snapshots/rev/onnx`), { recursive: true })
      fs.writeFileSync(at(`models--o--${name}/blobs/0`), name)
      fs.symlinkSync('../../blobs/0', at(`models--o--${name}/snapshots/rev/model`))
      fs.symlinkSync('../../../blobs/0', at(`models--o--${name}/snapshots/rev/onnx/model`))
    }
    fs.symlinkSync('../../../models--o--b/blobs/0', at('models--o--a/snapshots/rev/foreign'))
    fs.writeFileSync(at('models--o--a/other'), '')
    fs.symlinkSync('../../other', at('models--o--a/snapshots/rev/other'))
    const folder = await node.openFolder(at('models--o--a/snapshots/rev'))
    expect(await readText(folder, 'model')).toBe('a')
    expect(await readText(folder, 'onnx/model')).toBe('a')
    expect(await readText(await node.openFolder(at('models--o--a/snapshots/rev/onnx')), 'model')).toBe('a')
    for (const file of ['foreign', 'other']) expect((await errorOf(folder.open(file))).sentence).toContain('leads out of the folder')
  })
})

describe('writeFolder', () => {
  const names = () => fs.readdirSync(work).sort()

  it('makes the folder at the end and gives back what the work gave', async () => {
    const result = await node.writeFolder(at('deep', 'out'), {}, async (folder) => {
      await writeFile(folder, 'a/b.txt', 'text')
      const sink = await folder.create('big')
      for (let i = 0; i < 300; i++) await sink.write(new Uint8Array(i * 31).fill(i))
      await sink.write(new Uint8Array(3 * 2 ** 20).fill(7))
      await sink.close()
      expect(fs.existsSync(at('deep', 'out'))).toBe(false)
      expect(await readText(folder, 'a/b.txt')).toBe('text')
      return 42
    })
    expect(result).toBe(42)
    expect(fs.readdirSync(at('deep'))).toEqual(['out'])
    const expected = [...Array.from({ length: 300 }, (_, i) => Buffer.alloc(i * 31, i)), Buffer.alloc(3 * 2 ** 20, 7)]
    expect(Buffer.compare(fs.readFileSync(at('deep', 'out', 'big')), Buffer.concat(expected))).toBe(0)
  })

  it('leaves nothing behind when the work fails', async () => {
    const failing = node.writeFolder(at('deep', 'er', 'out'), {}, async (folder) => {
      await writeFile(folder, 'a', 'a')
      await folder.create('open')
      throw new Error('no')
    })
    await expect(failing).rejects.toThrow('no')
    expect(names()).toEqual([])
    await expect(node.writeFolder(at('out'), {}, async (folder) => void (await folder.create('open')))).rejects.toThrow(
      'open was not closed',
    )
    expect((await errorOf(node.writeFolder(at('out'), {}, (folder) => folder.create('../x')))).sentence).toContain('leads out of')
    expect(names()).toEqual([])
  })

  it('keeps a folder with files unless it is forced, and then replaces it whole', async () => {
    fs.mkdirSync(at('out'))
    await node.writeFolder(at('out'), {}, (folder) => writeFile(folder, 'old', 'old'))
    let worked = false
    const refused = node.writeFolder(at('out'), {}, async () => {
      worked = true
    })
    expect((await errorOf(refused)).code).toBe('usage')
    expect(worked).toBe(false)
    await expect(node.writeFolder(at('out'), { force: true }, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(fs.readdirSync(at('out'))).toEqual(['old'])
    await node.writeFolder(at('out'), { force: true }, (folder) => writeFile(folder, 'new', 'new'))
    expect([fs.readdirSync(at('out')), names()]).toEqual([['new'], ['out']])
  })

  it('never writes over, into or around its source, nor replaces a folder that it stands in', async () => {
    fs.mkdirSync(at('m', 'inner'), { recursive: true })
    fs.writeFileSync(at('m', 'inner', 'x'), '')
    fs.symlinkSync('m', at('alias'))
    for (const [out, source] of [['m', 'm'], ['m/out', 'm'], ['alias/out', 'm'], ['m', 'm/inner'], ['m/out/deep', 'alias']]) // biome-ignore format: table
      expect((await errorOf(node.checkWritable(at(out), { force: true, sources: [at(source)] }))).code).toBe('usage')
    await node.checkWritable(at('m-2'), { sources: [at('m')] })
    expect((await errorOf(node.checkWritable(path.dirname(process.cwd()), { force: true }))).sentence).toContain('would remove')
    expect((await errorOf(node.checkWritable(at('m', 'inner', 'x'), {}))).sentence).toContain('this is a file')
  })

  it.skipIf(!fs.existsSync('/dev/full'))('says in one sentence that the disk is full', async () => {
    const full = node.writeFolder(at('out'), {}, async (folder) => {
      fs.symlinkSync('/dev/full', at(names()[0], 'big'))
      await writeFile(folder, 'big', new Uint8Array(2 ** 21))
    })
    const error = await errorOf(full)
    expect([error.code, error.exitCode]).toEqual(['cannot-write', 1])
    expect(error.sentence).toContain('the disk is full')
    expect(names()).toEqual([])
  })

  it('says in one sentence that it may not write there', async () => {
    fs.writeFileSync(at('file'), '')
    expect((await errorOf(node.writeFolder(at('file', 'out'), {}, async () => {}))).exitCode).toBeGreaterThan(0)
    if (!fs.existsSync('/proc/self')) return
    const error = await errorOf(node.writeFolder('/proc/self/tinsmith', {}, async () => {}))
    expect([error.code, error.sentence.split('\n').length]).toEqual(['cannot-write', 1])
  })

  /** A process that writes until it is ended. */
  async function writer(out: string) {
    const program = `
      import { writeFolder } from './src/base/platform.node.js'
      await writeFolder(${JSON.stringify(out)}, { force: true }, async (folder) => {
        const sink = await folder.create('x')
        await sink.write(new Uint8Array(2 ** 21))
        process.stdout.write('writing')
        await new Promise((done) => setTimeout(done, 60_000))
      })`
    const child = startChild(program, work)
    const end = endOf(child)
    await new Promise((resolve) => child.stdout!.once('data', resolve))
    return { child, end }
  }

  it('leaves no OUT when it is killed, and the next run removes the rest', async () => {
    const { child, end } = await writer(at('place', 'out'))
    child.kill('SIGKILL')
    expect(await end).toBe('SIGKILL')
    expect(fs.readdirSync(at('place'))).toHaveLength(1)
    expect(fs.existsSync(at('place', 'out'))).toBe(false)
    await node.writeFolder(at('place', 'other'), {}, (folder) => writeFile(folder, 'x', ''))
    expect(fs.readdirSync(at('place'))).toEqual(['other'])
  })

  it.each(['SIGINT', 'SIGTERM'] as const)('takes everything along when %s ends it', async (signal) => {
    const { child, end } = await writer(at('place', 'out'))
    child.kill(signal)
    expect(await end).toBe(signal)
    expect(fs.readdirSync(at('place'))).toEqual([])
  })

  it('brings an old folder back when a run was killed between moving it aside and putting the new one', async () => {
    await node.writeFolder(at('probe'), {}, async (folder) => {
      await writeFile(folder, 'x', '')
      const [temporary] = names()
      const dead = temporary.replace(/-\d+-/, '-999999999-').replace('probe', 'out')
      fs.mkdirSync(at(dead.replace(/new$/, 'old')))
      fs.writeFileSync(at(dead.replace(/new$/, 'old'), 'precious'), '')
      fs.mkdirSync(at(dead))
    })
    await node.writeFolder(at('another'), {}, (folder) => writeFile(folder, 'x', ''))
    expect(names()).toEqual(['another', 'out', 'probe'])
    expect(fs.readdirSync(at('out'))).toEqual(['precious'])
  })
})

describe('sha256', () => {
  it('agrees with the system on both twins', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        const expected = createHash('sha256').update(bytes).digest('hex')
        for (const twin of twins)
          expect([await twin.sha256(bytes), await twin.sha256(new MemorySource(bytes))]).toEqual([expected, expected])
      }),
    )
    const big = new Uint8Array(9 * 2 ** 20).fill(3)
    expect(await browser.sha256(new MemorySource(big))).toBe(await node.sha256(new MemorySource(big)))
  })

  it('does not depend on how the bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 150 })), (pieces) => {
        const hash = new Sha256()
        for (const piece of pieces) hash.update(piece)
        expect(hash.digest()).toBe(createHash('sha256').update(Buffer.concat(pieces)).digest('hex'))
      }),
    )
  })
})

it('knows the machine', () => {
  vi.stubEnv('TINSMITH_CACHE', at('cache'))
  expect(node.cacheFolder()).toBe(at('cache'))
  vi.stubEnv('TINSMITH_CACHE', '')
  expect(node.cacheFolder()).toMatch(/tinsmith$/)
  expect(node.hardwareThreads()).toBeGreaterThan(0)
  expect(node.processorName()).not.toBe('')
  expect(node.totalMemory()).toBeGreaterThan(2 ** 20)
})
