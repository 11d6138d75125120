import { type ByteSource, concatenate, MemorySource } from '../base/bytes.js'
import { badInput, type TinsmithError } from '../base/errors.js'
import {
  type Blob,
  type Field,
  type FieldKind,
  fieldsOf,
  type Integer,
  type LazyBytes,
  type Message,
  wireTypeOf,
  wireTypes,
} from './wire.js'

/** Blobs up to this many bytes are read along with the message; longer ones stay in the file. */
const blobLimit = 1024
/** Longest name, text, opaque value or list of numbers in an attribute, in bytes. */
const valueLimit = 2 ** 26
/** What repeated fields without values share: a message of no bytes must take next to no memory. */
const none: readonly unknown[] = Object.freeze([])
const deepest = 100
const smallChunk = 4096
const largeChunk = 2 ** 18
/** A tag and a varint, the longest thing that is read in one go besides a field's payload. */
const lookahead = 20

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })

/** Bytes that lie in a file. */
export class StoredBytes implements LazyBytes {
  readonly source: ByteSource
  readonly offset: number
  readonly length: number

  constructor(source: ByteSource, offset: number, length: number) {
    this.source = source
    this.offset = offset
    this.length = length
  }

  read(): Promise<Uint8Array> {
    return this.source.read(this.offset, this.length)
  }
}

/**
 * Reads a message from a file from front to back, each byte at most once; long blobs are skipped and become
 * {@link StoredBytes}. Fields that the table does not know are skipped.
 *
 * @throws TinsmithError `bad-input` with the path of the field where the file is cut off or breaks the encoding's rules
 */
export async function decode<T extends object>(table: Message<T>, source: ByteSource): Promise<T> {
  const decoder = new Decoder(source)
  const steps = decoder.message(table, source.size, 0)
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done) return step.value as T
    await decoder.fill(step.value)
  }
}

/** Reads a message from bytes in memory; blobs are views of them. */
export function decodeBytes<T extends object>(table: Message<T>, bytes: Uint8Array, name = 'memory'): T {
  const step = new Decoder(new MemorySource(bytes, name), bytes).message(table, bytes.length, 0).next()
  if (!step.done) throw new Error('bytes in memory are all at hand')
  return step.value as T
}

/**
 * The numbers of a packed varint field, low 64 bits each.
 *
 * @throws TinsmithError `bad-input` when there are not exactly `count`
 */
export function decodeVarints(parts: readonly Uint8Array[], count: number, where: string): BigUint64Array {
  const stored = parts.reduce((sum, part) => sum + part.reduce((ends, byte) => ends + (byte < 0x80 ? 1 : 0), 0), 0)
  if (stored !== count) throw badInput(`there are ${stored} numbers and the shape asks for ${count}`, { where })
  const words = new Uint32Array(2 * count)
  let at = 0
  for (const part of parts) {
    const decoder = new Decoder(new MemorySource(part, where), part)
    while (decoder.position < part.length) {
      decoder.varint()
      words[at++] = decoder.low
      words[at++] = decoder.high
    }
  }
  return new BigUint64Array(words.buffer)
}

/** A compiled table: fields by number, and what an empty message looks like. */
interface Plan {
  readonly byNumber: ReadonlyMap<number, readonly [string, Field<unknown>]>
  readonly repeated: readonly string[]
}

const plans = new WeakMap<Message<object>, Plan>()

function planOf(table: Message<object>): Plan {
  let plan = plans.get(table)
  if (!plan) {
    const fields = fieldsOf(table)
    plan = {
      byNumber: new Map(fields.map((entry) => [entry[1].number, entry])),
      repeated: fields.filter(([, field]) => field.repeated).map(([name]) => name),
    }
    plans.set(table, plan)
  }
  return plan
}

/** Decodes over a window of the file; yields how many bytes it needs when the window is too short. */
class Decoder {
  readonly #source: ByteSource
  /** Everything is in memory, so that blobs can be views. */
  readonly #whole: boolean
  #buffer: Uint8Array
  #view: DataView
  /** Offset of the buffer in the source, and of the next byte in the buffer. */
  #base = 0
  #at = 0
  #chunk = smallChunk
  /** Field names on the way to the present field, each with its index in a list, else -1. */
  readonly #path: (string | number)[] = []
  /** The two halves of the last varint. */
  low = 0
  high = 0

  constructor(source: ByteSource, buffer?: Uint8Array) {
    this.#source = source
    this.#whole = buffer !== undefined
    this.#buffer = buffer ?? new Uint8Array(0)
    this.#view = viewOf(this.#buffer)
  }

  get position(): number {
    return this.#base + this.#at
  }

  get #buffered(): number {
    return this.#buffer.length - this.#at
  }

  /** Whether the next `length` bytes must be fetched first. */
  #lacks(length: number): boolean {
    return this.#buffered < length && this.#base + this.#buffer.length < this.#source.size
  }

  /** Makes at least the next `length` bytes available, or all that are left. */
  async fill(length: number): Promise<void> {
    const rest = this.#buffer.subarray(this.#at)
    const from = this.#base + this.#buffer.length
    const wanted = Math.min(this.#source.size - from, Math.max(length - rest.length, this.#chunk))
    const fresh = await this.#source.read(from, wanted)
    this.#base = this.position
    this.#at = 0
    this.#buffer = rest.length ? concatenate([rest, fresh]) : fresh
    this.#view = viewOf(this.#buffer)
    this.#chunk = Math.min(2 * this.#chunk, largeChunk)
  }

  #skip(length: number): void {
    this.#at += length
    if (this.#at <= this.#buffer.length) return
    this.#base += this.#at
    this.#at = 0
    this.#buffer = new Uint8Array(0)
    this.#chunk = smallChunk
  }

  *message(table: Message<object>, end: number, depth: number): Generator<number, Record<string, unknown>> {
    if (depth > deepest) throw this.#error(`messages are nested more than ${deepest} deep`)
    const plan = planOf(table)
    const result: Record<string, unknown> = {}
    for (const name of plan.repeated) result[name] = none
    while (this.position < end) {
      if (this.#lacks(lookahead)) yield lookahead
      const tag = this.#length()
      const number = Math.floor(tag / 8)
      const wireType = tag % 8
      const entry = plan.byNumber.get(number)
      if (!entry) {
        this.#path.push(`field ${number} of ${table.name}`, -1)
        this.#skipField(wireType, number, end)
        this.#path.length -= 2
        continue
      }
      const [name, field] = entry
      if (field.repeated && result[name] === none) result[name] = []
      const list = field.repeated ? (result[name] as unknown[]) : null
      this.#path.push(name, list ? list.length : -1)
      if (wireType === wireTypes.delimited) {
        const length = this.#delimited(end)
        if (field.kind === 'message') {
          if (name in result && !list) throw this.#error('the message is there twice')
          const value = yield* this.message(field.message!(), this.position + length, depth + 1)
          put(result, name, list, value)
        } else {
          const stays = isBlob(field.kind) && length > blobLimit && !this.#whole
          if (!stays && length <= valueLimit && this.#lacks(length)) yield length
          this.#payload(result, name, field, list, length, stays)
        }
      } else put(result, name, list, this.#scalar(field, wireType))
      if (this.position > end) throw this.#error(`the field runs past the end of its message at byte ${end}`)
      this.#path.length -= 2
    }
    return result
  }

  /** A length-delimited field that is no message. */
  #payload(
    result: Record<string, unknown>,
    name: string,
    field: Field<unknown>,
    list: unknown[] | null,
    length: number,
    stays: boolean,
  ): void {
    const { kind } = field
    if (length > valueLimit && !isBlob(kind))
      throw this.#error(`${length} bytes are more than the ${valueLimit} that such a value may have`)
    if (stays) {
      const value: Blob = new StoredBytes(this.#source, this.position, length)
      this.#skip(length)
      put(result, name, list, value)
    } else if (kind === 'int' || kind === 'float') {
      if (!list) throw this.#error('a single number cannot be a list')
      this.#packed(kind, list, length)
    } else {
      const bytes = this.#take(length)
      put(result, name, list, kind === 'string' ? utf8.decode(bytes) : this.#whole && isBlob(kind) ? bytes : bytes.slice())
    }
  }

  #packed(kind: 'int' | 'float', list: unknown[], length: number): void {
    const end = this.position + length
    if (kind === 'float' && length % 4) throw this.#error(`${length} bytes are no whole number of floats`)
    while (this.position < end) list.push(kind === 'float' ? this.#float() : this.#int())
    if (this.position > end) throw this.#error('the last number is cut off')
  }

  /** A field that is not length-delimited. */
  #scalar(field: Field<unknown>, wireType: number): unknown {
    if (wireType !== wireTypeOf(field.kind)) throw this.#error(`wire type ${wireType} stands where ${wireTypeOf(field.kind)} must`)
    switch (field.kind) {
      case 'int':
        return this.#int()
      case 'float':
        return this.#float()
      case 'varints': {
        const start = this.#at
        this.varint()
        return this.#buffer.slice(start, this.#at)
      }
      default:
        return this.#take(field.kind === 'fixed32' ? 4 : 8).slice()
    }
  }

  /** Reads 7 bits a byte into {@link low} and {@link high}. */
  varint(): void {
    let byte = this.#byte()
    this.low = byte & 0x7f
    this.high = 0
    for (let shift = 7; byte >= 0x80; shift += 7) {
      byte = this.#byte()
      const bits = byte & 0x7f
      if (shift > 63 || (shift === 63 && byte > 1)) throw this.#error('a number has more than 64 bits')
      if (shift < 28) this.low |= bits << shift
      else if (shift === 28) {
        this.low |= bits << 28
        this.high = bits >> 4
      } else this.high |= bits << (shift - 32)
    }
    this.low >>>= 0
    this.high >>>= 0
  }

  #byte(): number {
    if (this.#at >= this.#buffer.length) throw this.#error('the file ends within a number')
    return this.#buffer[this.#at++]
  }

  #int(): Integer {
    this.varint()
    const value = (this.high | 0) * 2 ** 32 + this.low
    return Number.isSafeInteger(value) ? value : BigInt.asIntN(64, (BigInt(this.high) << 32n) | BigInt(this.low))
  }

  /** A varint that is a tag or a length. */
  #length(): number {
    this.varint()
    return this.high * 2 ** 32 + this.low
  }

  #delimited(end: number): number {
    const length = this.#length()
    if (this.position + length > end) throw this.#error(`${length} bytes are announced where ${Math.max(0, end - this.position)} are left`)
    return length
  }

  #float(): number {
    if (this.#buffered < 4) throw this.#error('the file ends within a number')
    const value = this.#view.getFloat32(this.#at, true)
    this.#at += 4
    return value
  }

  #take(length: number): Uint8Array {
    if (this.#buffered < length) throw this.#error('the file ends within a value')
    const taken = this.#buffer.subarray(this.#at, this.#at + length)
    this.#at += length
    return taken
  }

  #skipField(wireType: number, number: number, end: number): void {
    if (number < 1 || number >= 2 ** 29) throw this.#error(`${number} is no field number`)
    if (wireType === wireTypes.varint) this.varint()
    else if (wireType === wireTypes.delimited) this.#skip(this.#delimited(end))
    else if (wireType === wireTypes.fixed64) this.#take(8)
    else if (wireType === wireTypes.fixed32) this.#take(4)
    else throw this.#error(`wire type ${wireType} does not exist`)
    if (this.position > end) throw this.#error(`the field runs past the end of its message at byte ${end}`)
  }

  #error(what: string): TinsmithError {
    const path = this.#path
      .map((part) => (typeof part === 'string' ? `.${part}` : part < 0 ? '' : `[${part}]`))
      .join('')
      .slice(1)
    return badInput(`at byte ${this.position}${path ? `, ${path}` : ''}: ${what}`, {
      where: this.#source.name,
      hint: 'The file is cut off, damaged, or no ONNX file.',
    })
  }
}

function put(result: Record<string, unknown>, name: string, list: unknown[] | null, value: unknown): void {
  if (list) list.push(value)
  else result[name] = value
}

function isBlob(kind: FieldKind): boolean {
  return kind === 'blob' || kind === 'varints' || kind === 'fixed32' || kind === 'fixed64'
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
