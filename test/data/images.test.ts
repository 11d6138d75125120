import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { openFile, openFolder } from '#platform'
import { MemorySource } from '../../src/base/bytes.js'
import type { Image } from '../../src/base/image.js'
import { type ImageSample, imagesInFolder, imagesInTable, readImage } from '../../src/data/index.js'
import { canDecode, grey, writePicture } from '../support/pictures.js'

const table = (text: string) => new MemorySource(new TextEncoder().encode(text), 'list.csv')

describe.skipIf(!canDecode)('image files', () => {
  let root: string
  beforeAll(async () => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-images-'))
    for (const [name, level] of [
      ['cat/a.png', 10],
      ['cat/b.webp', 20],
      ['7/c.png', 30],
    ] as const)
      await writePicture(path.join(root, 'set', name), grey(level))
    fs.writeFileSync(path.join(root, 'set', 'cat', 'notes.txt'), 'no image')
    fs.writeFileSync(path.join(root, 'broken.png'), 'no image either')
  })

  const levels = async (samples: readonly ImageSample[]) =>
    Promise.all(samples.map(async ({ image, label }) => [label, (await readImage(image)).data[0]]))

  it('in a folder for each class', async () => {
    const { samples, notes } = await imagesInFolder(await openFolder(path.join(root, 'set')))
    expect(await levels(samples)).toEqual([
      [7, 30],
      ['cat', 10],
      ['cat', 20],
    ])
    expect(notes).toEqual([])
  })

  it('in a table of path,label, with a header or without, and without labels where none are needed', async () => {
    const folder = await openFolder(path.join(root, 'set'))
    for (const header of ['', 'path,label\n'])
      expect(await levels((await imagesInTable(table(`${header}cat/a.png,dog\n7/c.png,cat\n`), folder)).samples)).toEqual([
        ['dog', 10],
        ['cat', 30],
      ])
    expect(await levels((await imagesInTable(table('cat/a.png\n'), folder, { labelled: false })).samples)).toEqual([[undefined, 10]])
  })

  it('say what is missing', async () => {
    const folder = await openFolder(path.join(root, 'set'))
    await expect(imagesInTable(table('cat/z.png,1\n'), folder)).rejects.toThrow(/no image cat\/z.png/)
    await expect(imagesInFolder(await openFolder(path.join(root)))).rejects.toThrow(/broken.png lies in no folder/)
    await expect(imagesInFolder(await openFolder(path.join(root, 'set', '7')))).rejects.toThrow(/no folder that names its class/)
    await expect(readImage(path.join(root, 'broken.png'))).rejects.toMatchObject({
      code: 'bad-input',
      message: expect.stringContaining('no image'),
    })
  })

  it('are decoded with as many channels as they have, from every kind of source', async () => {
    const file = path.join(root, 'colour.png')
    const colour: Image = { width: 2, height: 1, channels: 3, data: Uint8Array.of(1, 2, 3, 40, 50, 60) }
    await writePicture(file, colour)
    for (const source of [file, await openFile(file), { folder: await openFolder(root), path: 'colour.png' }, colour])
      expect(await readImage(source)).toEqual(colour)
    expect(await readImage(path.join(root, 'set', 'cat', 'a.png'))).toMatchObject({ channels: 1, width: 4, height: 4 })
  })
})
