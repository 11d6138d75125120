import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openFolder } from '#platform'
import { MemoryFolder } from '../../src/base/bytes.js'
import { isAsNoted, NotingFolder } from '../../src/base/folder-notes.js'

let work = ''
beforeEach(() => {
  work = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-notes-'))
  for (const name of ['read', 'other']) fs.writeFileSync(path.join(work, name), name)
})
afterEach(() => fs.rmSync(work, { recursive: true }))

async function notesOf(reads: readonly string[]) {
  const folder = new NotingFolder(await openFolder(work))
  for (const name of reads) await folder.open(name)
  return folder.notes()
}

describe('notes of a folder', () => {
  it('hold as long as what was read is as it was, and no file comes or goes', async () => {
    const changes: [string, () => void, boolean][] = [
      ['nothing', () => {}, true],
      ['what was not read', () => fs.appendFileSync(path.join(work, 'other'), '!'), true],
      ['what was read', () => fs.appendFileSync(path.join(work, 'read'), '!'), false],
      ['a new file', () => fs.writeFileSync(path.join(work, 'new'), ''), false],
    ]
    for (const [what, change, holds] of changes) {
      const notes = await notesOf(['read'])
      change()
      expect(await isAsNoted(await openFolder(work), notes), what).toBe(holds)
    }
  })

  it('see a file of the same size and time in place of the one that was read', async () => {
    const file = path.join(work, 'read')
    const { atime, mtime } = fs.statSync(file)
    const notes = await notesOf(['read'])
    fs.writeFileSync(`${file}.fresh`, 'abcd')
    fs.utimesSync(`${file}.fresh`, atime, mtime)
    fs.renameSync(`${file}.fresh`, file)
    expect(await isAsNoted(await openFolder(work), notes)).toBe(false)
  })

  it('see a file that is gone', async () => {
    const notes = await notesOf(['read'])
    fs.rmSync(path.join(work, 'read'))
    expect(await isAsNoted(await openFolder(work), notes)).toBe(false)
  })

  it('never hold where files have no state', async () => {
    const memory = new MemoryFolder(new Map([['read', Uint8Array.of(1)]]), 'memory')
    const folder = new NotingFolder(memory)
    await folder.open('read')
    expect(await isAsNoted(memory, await folder.notes())).toBe(false)
  })
})
