import fs from 'node:fs'
import path from 'node:path'
import { crc32 } from 'node:zlib'

/** Writes the files of a zip file that compresses nothing into a folder, by its directory; wrong sums are errors. */
export function unzip(bytes: Buffer, folder: string): void {
  const end = bytes.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'))
  let at = bytes.readUInt32LE(end + 16)
  for (let left = bytes.readUInt16LE(end + 10); left; left--) {
    const [sum, size, length, place] = [
      bytes.readUInt32LE(at + 16),
      bytes.readUInt32LE(at + 24),
      bytes.readUInt16LE(at + 28),
      bytes.readUInt32LE(at + 42),
    ]
    const file = path.join(folder, bytes.toString('utf8', at + 46, at + 46 + length))
    const start = place + 30 + bytes.readUInt16LE(place + 26) + bytes.readUInt16LE(place + 28)
    const content = bytes.subarray(start, start + size)
    if (bytes.readUInt32LE(at) !== 0x02014b50 || crc32(content) !== sum) throw new Error(`${file} is broken in the zip file`)
    fs.mkdirSync(path.dirname(file), { recursive: true })
    fs.writeFileSync(file, content)
    at += 46 + length
  }
}
