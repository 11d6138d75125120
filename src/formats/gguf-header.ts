import type { ByteSource } from '../base/bytes.js'
import { badInput, unsupported } from '../base/errors.js'
import { shorten } from './json.js'

/** Numbers of an array in a header; booleans are 0 and 1. */
export type MetadataNumbers =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array

/** A list in a header: of texts, of numbers, or of lists. */
export type MetadataList = MetadataNumbers | readonly string[] | readonly MetadataList[]

/** What a header says under one key. Whole numbers beyond 2^53 are bigints. */
export type MetadataValue = number | bigint | boolean | string | MetadataList

/** A tensor as the header describes it; nothing is checked against the file yet. */
export interface TensorInfo {
  readonly name: string
  /** Slowest dimension first, as everywhere in Tinsmith; the file has them the other way round. */
  readonly shape: readonly number[]
  /** Number of the format of its blocks. */
  readonly type: number
  /** Bytes from the beginning of the data. */
  readonly offset: number
}

/** Everything before the data of a GGUF file. */
export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, MetadataValue>
  readonly tensors: readonly TensorInfo[]
  /** Where the header ends; the data begin at the next multiple of the alignment. */
  readonly end: number
}

const firstWindow = 8 * 2 ** 20
const largestHeader = 100_000_000
const deepestList = 4
const mostDimensions = 4
/** Bytes of the shortest entries: an empty key with a byte; a nameless scalar tensor. */
const [shortestKey, shortestTensor] = [13, 24]
const notGguf = 'This is no GGUF file, or it is damaged.'

/**
 * Reads the header of a GGUF file of version 2 or 3. All counts and lengths are compared with the file before anything is allocated.
 *
 * Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * @throws TinsmithError `bad-input` for what is no such file, is cut off or contradicts itself; `unsupported` for big-endian files
 */
export async function readGgufHeader(source: ByteSource): Promise<GgufHeader> {
  const most = Math.min(source.size, largestHeader)
  for (let length = Math.min(firstWindow, most); ; length = Math.min(2 * length, most)) {
    try {
      return parseHeader(new Cursor(await source.read(0, length), source))
    } catch (error) {
      if (!(error instanceof WindowEnd)) throw error
      if (length === most)
        throw badInput(`the header is longer than ${largestHeader} bytes, which no model needs`, { where: source.name, hint: notGguf })
    }
  }
}

function parseHeader(cursor: Cursor): GgufHeader {
  checkVersion(cursor)
  const tensorCount = cursor.count(shortestTensor, 'tensors')
  const keyCount = cursor.count(shortestKey, 'keys')
  const metadata = new Map<string, MetadataValue>()
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.text('a key')
    if (metadata.has(key)) throw cursor.fault(`the key ${shorten(key, 200)} is given twice`)
    metadata.set(key, readValue(cursor, key))
  }
  const tensors = repeated(tensorCount, () => readTensorInfo(cursor))
  return { metadata, tensors, end: cursor.at }
}

/** Grows with what is read, for a count is only somebody's word. */
function repeated<T>(count: number, read: () => T): T[] {
  const all: T[] = []
  for (let i = 0; i < count; i++) all.push(read())
  return all
}

function checkVersion(cursor: Cursor): void {
  if (new TextDecoder().decode(cursor.take(4)) !== 'GGUF') throw cursor.fault('the file does not begin with GGUF', notGguf)
  const version = cursor.view(4).getUint32(0, true)
  if ((version & 0xffff) === 0 && version)
    throw unsupported('this is a big-endian GGUF file, and Tinsmith reads little-endian ones', {
      where: cursor.where,
      hint: 'Convert it with gguf_convert_endian.py of llama.cpp.',
    })
  if (version !== 2 && version !== 3)
    throw cursor.fault(`this is version ${version} of GGUF, and Tinsmith reads 2 and 3`, 'Convert the model again with a newer llama.cpp.')
}

function readTensorInfo(cursor: Cursor): TensorInfo {
  const name = cursor.text('the name of a tensor')
  const dimensions = cursor.view(4).getUint32(0, true)
  if (dimensions > mostDimensions)
    throw cursor.fault(`tensor ${shorten(name, 200)} has ${dimensions} dimensions and may have ${mostDimensions}`)
  const shape = Array.from({ length: dimensions }, () => cursor.whole(`a dimension of tensor ${shorten(name, 200)}`)).reverse()
  const type = cursor.view(4).getUint32(0, true)
  return { name, shape, type, offset: cursor.whole(`the offset of tensor ${shorten(name, 200)}`) }
}

type NumbersClass = new (buffer: ArrayBufferLike, offset: number, length: number) => MetadataNumbers

/** Scalars by the number of their type: bytes, the class of their lists, how one is read. */
const scalars: Readonly<Record<number, readonly [number, NumbersClass, (view: DataView) => number | bigint | boolean]>> = {
  0: [1, Uint8Array, (view) => view.getUint8(0)],
  1: [1, Int8Array, (view) => view.getInt8(0)],
  2: [2, Uint16Array, (view) => view.getUint16(0, true)],
  3: [2, Int16Array, (view) => view.getInt16(0, true)],
  4: [4, Uint32Array, (view) => view.getUint32(0, true)],
  5: [4, Int32Array, (view) => view.getInt32(0, true)],
  6: [4, Float32Array, (view) => shortestDecimal(view.getFloat32(0, true))],
  7: [1, Uint8Array, (view) => view.getUint8(0) !== 0],
  10: [8, BigUint64Array, (view) => numberWhereExact(view.getBigUint64(0, true))],
  11: [8, BigInt64Array, (view) => numberWhereExact(view.getBigInt64(0, true))],
  12: [8, Float64Array, (view) => view.getFloat64(0, true)],
}
const [textType, listType] = [8, 9]

function readValue(cursor: Cursor, key: string): MetadataValue {
  const type = cursor.view(4).getUint32(0, true)
  if (type === textType) return cursor.text(`the text of ${shorten(key, 200)}`)
  if (type === listType) return readList(cursor, key, 1)
  const [bytes, , read] = scalarOf(cursor, type, key)
  return read(cursor.view(bytes))
}

function readList(cursor: Cursor, key: string, depth: number): MetadataList {
  if (depth > deepestList) throw cursor.fault(`the list ${shorten(key, 200)} is nested deeper than ${deepestList} levels`)
  const type = cursor.view(4).getUint32(0, true)
  if (type === textType) {
    const count = cursor.count(8, `texts of ${shorten(key, 200)}`)
    return repeated(count, () => cursor.text(`a text of ${shorten(key, 200)}`))
  }
  if (type === listType) {
    const count = cursor.count(12, `lists of ${shorten(key, 200)}`)
    return repeated(count, () => readList(cursor, key, depth + 1))
  }
  const [bytes, numbers] = scalarOf(cursor, type, key)
  const count = cursor.count(bytes, `numbers of ${shorten(key, 200)}`)
  return new numbers(cursor.take(count * bytes).slice().buffer, 0, count)
}

function scalarOf(cursor: Cursor, type: number, key: string) {
  const scalar = scalars[type]
  if (!scalar) throw cursor.fault(`the key ${shorten(key, 200)} has the unknown type ${type}`, notGguf)
  return scalar
}

/** The number that was meant: 1e-5 rather than 0.000009999999747378752, which is the same in float32. */
function shortestDecimal(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const decimal = Number(value.toPrecision(digits))
    if (Math.fround(decimal) === value) return decimal
  }
  return value
}

function numberWhereExact(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

/** More of the file has to be read to go on. */
class WindowEnd extends Error {}

/** Reads the beginning of a file from front to back. */
class Cursor {
  readonly where: string
  readonly #bytes: Uint8Array
  readonly #size: number
  readonly #texts = new TextDecoder('utf-8', { ignoreBOM: true })
  at = 0

  constructor(bytes: Uint8Array, source: ByteSource) {
    this.where = source.name
    this.#bytes = bytes
    this.#size = source.size
  }

  fault(message: string, hint?: string) {
    return badInput(message, { where: this.where, hint })
  }

  take(length: number): Uint8Array {
    if (length > this.#size - this.at)
      throw this.fault(
        this.#size ? `the header goes on after the file's end at byte ${this.#size}` : 'the file is empty',
        'The file is cut off or its header is wrong.',
      )
    if (this.at + length > this.#bytes.length) throw new WindowEnd()
    this.at += length
    return this.#bytes.subarray(this.at - length, this.at)
  }

  view(length: number): DataView {
    const bytes = this.take(length)
    return new DataView(bytes.buffer, bytes.byteOffset, length)
  }

  /** How many things of at least `bytes` bytes follow; so many must fit into the file. */
  count(bytes: number, what: string): number {
    const count = this.view(8).getBigUint64(0, true)
    if (count > Math.floor(this.#size / bytes))
      throw this.fault(`the header says that there are ${count} ${what}, more than the file's ${this.#size} bytes can hold`, notGguf)
    return Number(count)
  }

  /** An unsigned number that the language holds exactly. */
  whole(what: string): number {
    const value = this.view(8).getBigUint64(0, true)
    if (value > Number.MAX_SAFE_INTEGER) throw this.fault(`${what} is ${value}, too large to exist`)
    return Number(value)
  }

  text(what: string): string {
    return this.#texts.decode(this.take(this.count(1, `bytes in ${what}`)))
  }
}
