import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { cannotWrite } from './files.node.js'
import type { ScratchFile } from './platform.js'

/** A new file in the system's temporary folder. */
export async function scratchFile(): Promise<ScratchFile> {
  const folder = await fs.promises.mkdtemp(path.join(os.tmpdir(), 'tinsmith-'))
  const file = await fs.promises.open(path.join(folder, 'scratch'), 'w+')
  // Without a name an open file stays usable and nothing is left behind after a crash; Windows allows that only at the end.
  const unname = () => fs.promises.rm(folder, { recursive: true, force: true }).catch(() => {})
  await unname()
  return {
    async write(offset, bytes) {
      try {
        await file.write(bytes, 0, bytes.length, offset)
      } catch (error) {
        throw cannotWrite('a temporary file', error)
      }
    },
    async read(offset, length) {
      const bytes = new Uint8Array(length)
      const { bytesRead } = await file.read(bytes, 0, length, offset)
      return bytes.subarray(0, bytesRead)
    },
    async remove() {
      await file.close()
      await unname()
    },
  }
}
