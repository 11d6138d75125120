import { type ByteSource, concatenate, MemoryFolder } from '../base/bytes.js'
import { badInput, TinsmithError } from '../base/errors.js'

const blockBytes = 512
const chunkBytes = 2 ** 20
/** Most bytes that an archive may unpack to. */
const unpackedLimit = 2 ** 31

/**
 * The files of a tar archive compressed with gzip (`.tar.gz`), in memory.
 *
 * Source: POSIX.1-2024 pax (ustar headers with extended records), and GNU's long names
 *
 * @throws TinsmithError `bad-input` when it is none, is cut off or unpacks to more than 2 GiB
 */
export async function unpackArchive(source: ByteSource): Promise<MemoryFolder> {
  const files = new Map<string, Uint8Array>()
  const stream = new BlockReader(unzip(source), source.name)
  let longName = ''
  for (let header = await stream.take(blockBytes); header?.[0]; header = await stream.take(blockBytes)) {
    const size = sizeOf(header, source.name)
    const content = (await stream.take(Math.ceil(size / blockBytes) * blockBytes))?.subarray(0, size)
    if (!content) throw badInput('the archive is cut off', { where: source.name })
    const type = String.fromCharCode(header[156])
    if (type === 'x') longName = extendedPath(content) ?? longName
    else if (type === 'L') longName = textOf(content)
    else {
      const prefix = textOf(header.subarray(345, 500))
      const path = longName || `${prefix && `${prefix}/`}${textOf(header.subarray(0, 100))}`
      if (type === '0' || type === '\0') files.set(path.replace(/^\.\//, ''), content)
      longName = ''
    }
  }
  return new MemoryFolder(files, source.name)
}

async function* unzip(source: ByteSource): AsyncGenerator<Uint8Array> {
  let at = 0
  const packed = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      if (at >= source.size) return controller.close()
      const chunk = await source.read(at, Math.min(chunkBytes, source.size - at))
      at += chunk.length
      controller.enqueue(new Uint8Array(chunk))
    },
  })
  const reader = packed.pipeThrough(new DecompressionStream('gzip')).getReader()
  let total = 0
  try {
    for (let result = await reader.read(); !result.done; result = await reader.read()) {
      total += result.value.length
      if (total > unpackedLimit) throw badInput(`the archive unpacks to more than ${unpackedLimit} bytes`, { where: source.name })
      yield result.value
    }
  } catch (error) {
    if (error instanceof TinsmithError) throw error
    throw badInput('this is no gzip archive, or it is cut off', { where: source.name, cause: error })
  } finally {
    await reader.cancel().catch(() => {})
  }
}

/** Gives a stream of chunks in pieces of wanted lengths. */
class BlockReader {
  readonly #chunks: AsyncGenerator<Uint8Array>
  readonly #where: string
  #rest: Uint8Array = new Uint8Array(0)

  constructor(chunks: AsyncGenerator<Uint8Array>, where: string) {
    this.#chunks = chunks
    this.#where = where
  }

  /** The next bytes as a copy, null at the end of the stream. */
  async take(length: number): Promise<Uint8Array | null> {
    const parts = [this.#rest]
    let have = this.#rest.length
    while (have < length) {
      const next = await this.#chunks.next()
      if (next.done) {
        if (have) throw badInput('the archive is cut off', { where: this.#where })
        return null
      }
      parts.push(next.value)
      have += next.value.length
    }
    const all = parts.length === 1 ? this.#rest : concatenate(parts)
    this.#rest = all.subarray(length)
    return all.slice(0, length)
  }
}

function sizeOf(header: Uint8Array, where: string): number {
  const text = textOf(header.subarray(124, 136)).trim()
  const isTar = textOf(header.subarray(257, 262)) === 'ustar'
  if (!isTar || !/^[0-7]+$/.test(text)) throw badInput('this is no tar archive', { where })
  return Number.parseInt(text, 8)
}

/** The text before the first zero byte. */
function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0)
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end))
}

/** The path among the records `LENGTH key=value\n`. */
function extendedPath(content: Uint8Array): string | undefined {
  return new TextDecoder().decode(content).match(/^\d+ path=(.*)$/m)?.[1]
}
