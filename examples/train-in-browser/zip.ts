const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte
  for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ 0xedb88320 : rest >>> 1
  return rest
})

/** The CRC-32 of zip files. */
export function crc32(bytes: Uint8Array): number {
  let state = 0xffffffff
  for (const byte of bytes) state = (state >>> 8) ^ table[(state ^ byte) & 255]
  return ~state >>> 0
}

/** Numbers of two (`u16`) or four (`u32`) bytes, little endian. */
function numbers(...fields: readonly (readonly ['u16' | 'u32', number])[]): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [kind]) => sum + (kind === 'u16' ? 2 : 4), 0)))
  let at = 0
  for (const [kind, value] of fields) {
    if (kind === 'u16') view.setUint16(at, value, true)
    else view.setUint32(at, value, true)
    at += kind === 'u16' ? 2 : 4
  }
  return new Uint8Array(view.buffer)
}

/** 1980-01-01 00:00, the beginning of time in zip files. */
const date = (1 << 5) | 1
const utf8Names = 1 << 11

/**
 * A zip file whose files lie in it as they are; weights would not become smaller. Source: PKWARE's APPNOTE 6.3.10, sections 4.3.7, 4.3.12
 * and 4.3.16.
 *
 * @param files below 4 GB together, by path
 */
export function zip(files: ReadonlyMap<string, Uint8Array>): Blob {
  const [parts, directory]: [Uint8Array<ArrayBuffer>[], Uint8Array<ArrayBuffer>[]] = [[], []]
  let at = 0
  for (const [path, content] of files) {
    const [name, bytes] = [new TextEncoder().encode(path), content as Uint8Array<ArrayBuffer>]
    const [version, none] = [
      ['u16', 20],
      ['u16', 0],
    ] as const
    const shared = [
      version,
      ['u16', utf8Names],
      none,
      none,
      ['u16', date],
      ['u32', crc32(bytes)],
      ['u32', bytes.length],
      ['u32', bytes.length],
      ['u16', name.length],
      none,
    ] as const
    const header = numbers(['u32', 0x04034b50], ...shared)
    directory.push(numbers(['u32', 0x02014b50], version, ...shared, none, none, none, ['u32', 0], ['u32', at]), name)
    parts.push(header, name, bytes)
    at += header.length + name.length + bytes.length
  }
  const size = directory.reduce((sum, { length }) => sum + length, 0)
  const counts = [
    ['u16', files.size],
    ['u16', files.size],
  ] as const
  const end = numbers(['u32', 0x06054b50], ['u16', 0], ['u16', 0], ...counts, ['u32', size], ['u32', at], ['u16', 0])
  return new Blob([...parts, ...directory, end], { type: 'application/zip' })
}
