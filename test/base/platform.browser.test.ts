import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { readText, writeFile } from '../../src/base/bytes.js'
import { TinsmithError } from '../../src/base/errors.js'
import * as browser from '../../src/base/platform.browser.js'

/** A folder of the origin's private file system, as far as the platform uses it. */
class FakeDirectory {
  readonly kind = 'directory'
  readonly children = new Map<string, FakeDirectory | FakeFile>()

  async getDirectoryHandle(name: string, { create = false } = {}): Promise<FakeDirectory> {
    if (create && !this.children.has(name)) this.children.set(name, new FakeDirectory())
    const child = this.children.get(name)
    if (!(child instanceof FakeDirectory)) throw new DOMException('no such folder', 'NotFoundError')
    return child
  }

  async getFileHandle(name: string, { create = false } = {}): Promise<FakeFile> {
    if (create && !this.children.has(name)) this.children.set(name, new FakeFile(name))
    const child = this.children.get(name)
    if (!(child instanceof FakeFile)) throw new DOMException('no such file', 'NotFoundError')
    return child
  }

  async removeEntry(name: string): Promise<void> {
    if (!this.children.delete(name)) throw new DOMException('nothing there', 'NotFoundError')
  }

  async *entries() {
    yield* this.children
  }
}

class FakeFile {
  readonly kind = 'file'
  #file: File
  full = false

  constructor(readonly name: string) {
    this.#file = new File([], name)
  }

  async getFile(): Promise<File> {
    return this.#file
  }

  async createWritable() {
    const parts: BlobPart[] = []
    return {
      write: async (bytes: Uint8Array<ArrayBuffer>) => {
        if (bytes.length > 1000) throw new DOMException('no space', 'QuotaExceededError')
        parts.push(bytes.slice())
      },
      close: async () => {
        this.#file = new File(parts, this.name, { lastModified: Date.now() })
      },
    }
  }
}

beforeEach(() => {
  const root = new FakeDirectory()
  let last: Promise<unknown> = Promise.resolve()
  const request = (_: string, work: () => Promise<unknown>) => {
    const next = last.then(work)
    last = next.catch(() => {})
    return next
  }
  vi.stubGlobal('navigator', { storage: { getDirectory: async () => root }, locks: { request }, hardwareConcurrency: 4, userAgent: 'test' })
})
afterEach(() => {
  vi.unstubAllGlobals()
})

async function codeOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => null,
    (reason) => reason,
  )
  expect(error).toBeInstanceOf(TinsmithError)
  return error.code
}

describe("the browser's platform", () => {
  it('writes a folder that counts as absent until it is whole', async () => {
    const given = await browser.writeFolder('place/out', {}, async (folder) => {
      await writeFile(folder, 'deep/file', 'text')
      expect(await browser.pathKind('place/out')).toBeNull()
      return 7
    })
    expect(given).toBe(7)
    const folder = await browser.openFolder('place/out')
    expect(await folder.list()).toEqual(['deep/file'])
    expect(await readText(folder, 'deep/file')).toBe('text')
    expect(await (await browser.openFile('place/out/deep/file')).read(1, 2)).toEqual(new TextEncoder().encode('ex'))
    expect([await browser.pathKind('place/out'), await browser.pathKind('place/out/deep/file'), await browser.pathKind('no')]).toEqual([
      'folder',
      'file',
      null,
    ])
    expect(await codeOf(folder.open('none'))).toBe('bad-input')
    expect(await codeOf(folder.open('../x'))).toBe('bad-input')
    expect(await codeOf(browser.openFile('place/none'))).toBe('bad-input')
    expect(await codeOf(browser.openFolder('place/none'))).toBe('bad-input')
  })

  it('keeps what is there unless it is forced, and leaves nothing of failed work', async () => {
    await browser.writeFolder('out', {}, (folder) => writeFile(folder, 'old', 'x'))
    expect(await codeOf(browser.writeFolder('out', {}, async () => {}))).toBe('usage')
    expect(await codeOf(browser.writeFolder('out/in', { sources: ['out'] }, async () => {}))).toBe('usage')
    await browser.writeFolder('out', { force: true }, (folder) => writeFile(folder, 'new', 'x'))
    expect(await (await browser.openFolder('out')).list()).toEqual(['new'])
    expect(await codeOf(browser.writeFolder('full', {}, (folder) => writeFile(folder, 'x', 'x'.repeat(2000))))).toBe('cannot-write')
    expect(await browser.namesIn('')).toEqual(['out'])
  })

  it('knows size and use of folders, for caches', async () => {
    expect(await browser.folderEntries('cache')).toEqual([])
    for (const name of ['a', 'b']) await browser.writeFolder(`cache/${name}`, {}, (folder) => writeFile(folder, 'x', 'xyz'))
    await new Promise((done) => setTimeout(done, 10))
    await browser.touchFolder('cache/a')
    const [a, b] = await browser.folderEntries('cache')
    expect([a.bytes, b.bytes, a.usedAt > b.usedAt]).toEqual([3, 3, true])
    await browser.removeFolder('cache/a')
    await browser.removeFolder('cache/none')
    expect(await browser.namesIn('cache')).toEqual(['b'])
  })

  it('says so where a page has no file system', async () => {
    vi.stubGlobal('navigator', {})
    expect(await codeOf(browser.openFile('x'))).toBe('unsupported')
  })
})
