import { type Blob, type Field, fieldsOf, type Integer, type Message, wireTypeOf, wireTypes } from './wire.js'

const bufferBytes = 65_536
/** Most bytes of a 64-bit number. */
const varintLimit = 10
const utf8 = new TextEncoder()

/** An encoded message: what is known is bytes, what is fetched while writing is left as it is. */
export interface Encoded {
  readonly byteLength: number
  readonly parts: readonly Blob[]
}

/**
 * The encoding of a message, its fields in the order of the table. Sizes are computed first; blobs are neither read
 * nor copied.
 */
export function encode<T extends object>(table: Message<T>, value: T): Encoded {
  const encoder = new Encoder()
  const byteLength = encoder.measure(table, value)
  return { byteLength, parts: encoder.write(table, value, byteLength) }
}

/** The encoding of a message without lazy blobs. */
export function encodeBytes<T extends object>(table: Message<T>, value: T): Uint8Array {
  const { byteLength, parts } = encode(table, value)
  const result = new Uint8Array(byteLength)
  let at = 0
  for (const part of parts) {
    if (!(part instanceof Uint8Array)) throw new Error('a blob lies in a file')
    result.set(part, at)
    at += part.length
  }
  return result
}

class Encoder {
  /** Sizes of all messages in the order in which they are measured, which is the order in which they are written. */
  readonly #sizes: number[] = []
  #written = 0
  readonly #parts: Blob[] = []
  #buffer = new Uint8Array(0)
  #at = 0

  /** Bytes of a message's content; remembered for {@link write}. */
  measure(table: Message<object>, value: object): number {
    const slot = this.#sizes.push(0) - 1
    let size = 0
    for (const [name, field] of fieldsOf(table)) {
      const held = (value as Record<string, unknown>)[name]
      if (held === undefined) continue
      const tagBytes = varintBytes(tagOf(field))
      if (isPacked(field)) {
        const length = (held as readonly Blob[]).reduce((sum, part) => sum + part.length, 0)
        if (length) size += tagBytes + varintBytes(length) + length
      } else for (const item of field.repeated ? (held as readonly unknown[]) : [held]) size += tagBytes + this.#measureItem(field, item)
    }
    this.#sizes[slot] = size
    return size
  }

  #measureItem(field: Field<unknown>, item: unknown): number {
    if (field.kind === 'int') return integerBytes(item as Integer)
    if (field.kind === 'float') return 4
    const length =
      field.kind === 'message'
        ? this.measure(field.message!(), item as object)
        : field.kind === 'string'
          ? utf8Length(item as string)
          : (item as Blob).length
    return varintBytes(length) + length
  }

  /** The parts of a measured message. */
  write(table: Message<object>, value: object, byteLength: number): Blob[] {
    this.#buffer = new Uint8Array(Math.min(bufferBytes, byteLength + varintLimit))
    this.#message(table, value)
    this.#flush()
    return this.#parts
  }

  #message(table: Message<object>, value: object): void {
    this.#written++
    for (const [name, field] of fieldsOf(table)) {
      const held = (value as Record<string, unknown>)[name]
      if (held === undefined) continue
      if (isPacked(field)) {
        const parts = held as readonly Blob[]
        const length = parts.reduce((sum, part) => sum + part.length, 0)
        if (!length) continue
        this.#varint(tagOf(field))
        this.#varint(length)
        for (const part of parts) this.#blob(part)
      } else
        for (const item of field.repeated ? (held as readonly unknown[]) : [held]) {
          this.#varint(tagOf(field))
          this.#item(field, item)
        }
    }
  }

  #item(field: Field<unknown>, item: unknown): void {
    if (field.kind === 'int') this.#integer(item as Integer)
    else if (field.kind === 'float') this.#float(item as number)
    else if (field.kind === 'message') {
      this.#varint(this.#sizes[this.#written])
      this.#message(field.message!(), item as object)
    } else if (field.kind === 'string') this.#text(item as string)
    else {
      this.#varint((item as Blob).length)
      this.#blob(item as Blob)
    }
  }

  #text(text: string): void {
    const length = utf8Length(text)
    this.#varint(length)
    if (length > bufferBytes) this.#blob(utf8.encode(text))
    else {
      this.#reserve(length)
      utf8.encodeInto(text, this.#buffer.subarray(this.#at))
      this.#at += length
    }
  }

  #reserve(length: number): void {
    if (this.#at + length > this.#buffer.length) this.#flush()
  }

  #flush(): void {
    if (!this.#at) return
    this.#parts.push(this.#buffer.slice(0, this.#at))
    this.#at = 0
  }

  #blob(blob: Blob): void {
    if (blob instanceof Uint8Array && blob.length <= bufferBytes / 4) {
      this.#reserve(blob.length)
      this.#buffer.set(blob, this.#at)
      this.#at += blob.length
      return
    }
    this.#flush()
    this.#parts.push(blob)
  }

  #float(value: number): void {
    this.#reserve(4)
    new DataView(this.#buffer.buffer).setFloat32(this.#at, value, true)
    this.#at += 4
  }

  #integer(value: Integer): void {
    if (typeof value === 'number' && value >= 0) this.#varint(value)
    else {
      this.#reserve(varintLimit)
      let rest = BigInt.asUintN(64, BigInt(value))
      for (; rest >= 0x80n; rest >>= 7n) this.#buffer[this.#at++] = Number(rest & 0x7fn) | 0x80
      this.#buffer[this.#at++] = Number(rest)
    }
  }

  #varint(value: number): void {
    this.#reserve(varintLimit)
    for (; value >= 0x80; value = Math.floor(value / 128)) this.#buffer[this.#at++] = (value % 128) | 0x80
    this.#buffer[this.#at++] = value
  }
}

function isPacked(field: Field<unknown>): boolean {
  return field.kind === 'varints' || field.kind === 'fixed32' || field.kind === 'fixed64'
}

function tagOf(field: Field<unknown>): number {
  return field.number * 8 + (isPacked(field) ? wireTypes.delimited : wireTypeOf(field.kind))
}

function varintBytes(value: number): number {
  let bytes = 1
  for (; value >= 0x80; value = Math.floor(value / 128)) bytes++
  return bytes
}

function integerBytes(value: Integer): number {
  if (typeof value === 'number' && value >= 0) return varintBytes(value)
  if (value < 0) return 10
  let bytes = 1
  for (let rest = value as bigint; rest >= 0x80n; rest >>= 7n) bytes++
  return bytes
}

/** Bytes of a text in UTF-8; halves of surrogate pairs that stand alone become U+FFFD. */
function utf8Length(text: string): number {
  let length = text.length
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) continue
    const pair = unit >= 0xd800 && unit < 0xdc00 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00
    length += unit < 0x800 ? 1 : 2
    if (pair) i++
  }
  return length
}
