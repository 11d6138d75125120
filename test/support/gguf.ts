import { roundToMinifloat, toCodes } from '../../src/numbers/minifloat.js'

/** A value of a header: the number of its type and its bytes. */
export interface GgufValue {
  readonly type: number
  readonly bytes: Uint8Array
}

/** A tensor of a test's file, slowest dimension first. */
export interface GgufEntry {
  readonly name: string
  readonly shape: readonly number[]
  /** Number of the format. */
  readonly type: number
  readonly bytes: Uint8Array
  /** Where it says that it lies, if not where it does. */
  readonly offset?: bigint
}

export interface GgufFile {
  readonly metadata: Iterable<readonly [string, GgufValue]>
  readonly tensors?: readonly GgufEntry[]
  readonly version?: number
  readonly alignment?: number
}

function little(size: number, write: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(size)
  write(new DataView(bytes.buffer))
  return bytes
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

export const u32Bytes = (value: number) => little(4, (view) => view.setUint32(0, value, true))
export const u64Bytes = (value: bigint | number) => little(8, (view) => view.setBigUint64(0, BigInt(value), true))
export const f32Bytes = (values: ArrayLike<number>) => new Uint8Array(Float32Array.from(values).buffer)
export const f16Bytes = (values: readonly number[]) => new Uint8Array(toCodes('float16', Float32Array.from(values)).slice().buffer)

export function textBytes(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text)
  return joined(u64Bytes(bytes.length), bytes)
}

export const u32 = (value: number): GgufValue => ({ type: 4, bytes: u32Bytes(value) })
export const f32 = (value: number): GgufValue => ({ type: 6, bytes: f32Bytes([value]) })
export const flag = (value: boolean): GgufValue => ({ type: 7, bytes: Uint8Array.of(Number(value)) })
export const text = (value: string): GgufValue => ({ type: 8, bytes: textBytes(value) })

/** A list of values of one type. */
export function list(type: number, items: readonly Uint8Array[]): GgufValue {
  return { type: 9, bytes: joined(u32Bytes(type), u64Bytes(items.length), ...items) }
}

export const texts = (values: readonly string[]): GgufValue => list(8, values.map(textBytes))
export const integers = (values: readonly number[]): GgufValue =>
  list(
    5,
    values.map((value) => little(4, (view) => view.setInt32(0, value, true))),
  )
export const floats = (values: readonly number[]): GgufValue =>
  list(
    6,
    values.map((value) => f32Bytes([value])),
  )

/** The bytes of a GGUF file. */
export function ggufBytes({ metadata, tensors = [], version = 3, alignment = 32 }: GgufFile): Uint8Array {
  const pairs = [...metadata].map(([key, { type, bytes }]) => joined(textBytes(key), u32Bytes(type), bytes))
  const padding = (length: number) => new Uint8Array((alignment - (length % alignment)) % alignment)
  let offset = 0
  const infos: Uint8Array[] = []
  for (const { name, shape, type, bytes, offset: said } of tensors) {
    const dimensions = [...shape].reverse().map(u64Bytes)
    infos.push(joined(textBytes(name), u32Bytes(shape.length), ...dimensions, u32Bytes(type), u64Bytes(said ?? offset)))
    offset += bytes.length + padding(bytes.length).length
  }
  const counts = [u32Bytes(version), u64Bytes(tensors.length), u64Bytes(pairs.length)]
  const header = joined(new TextEncoder().encode('GGUF'), ...counts, ...pairs, ...infos)
  const data = tensors.flatMap(({ bytes }) => [bytes, padding(bytes.length)])
  return joined(header, padding(header.length), ...data)
}

/** A float32 tensor of a file. */
export function f32Entry(name: string, shape: readonly number[], values: ArrayLike<number>): GgufEntry {
  return { name, shape, type: 0, bytes: f32Bytes(values) }
}

/** A number as float16 holds it. */
export function asHalf(value: number): number {
  return roundToMinifloat('float16', Float32Array.of(value))[0]
}
