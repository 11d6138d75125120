/**
 * Messages of protocol buffers as tables: one line per field, from which {@link decode} and {@link encode} work.
 *
 * Written here rather than taken from a library because models outgrow what libraries do: the bytes of a weight must
 * stay in the file until they are asked for, a file may be larger than any one array, and hostile files must end in a
 * sentence instead of an allocation.
 *
 * Source: https://protobuf.dev/programming-guides/encoding
 */

/** A 64-bit integer: a number where it is exact, else a bigint. */
export type Integer = number | bigint

/** Bytes that are fetched when asked for; a `Uint8Array` has the same `length`. */
export interface LazyBytes {
  readonly length: number
  read(): Promise<Uint8Array>
}

/** The payload of a bytes field that may be long: at hand when short, else where it lies. */
export type Blob = Uint8Array | LazyBytes

/** How a field's values look on the wire and in memory. */
export type FieldKind =
  /** int32, int64 and enums: varints read as signed 64 bits. */
  | 'int'
  | 'float'
  | 'string'
  | 'bytes'
  /** Bytes that stay in the file when they are long. */
  | 'blob'
  /** Repeated varints kept as they are encoded, see {@link decodeVarints}. */
  | 'varints'
  /** Repeated little-endian numbers of 4 or 8 bytes kept as they are encoded. */
  | 'fixed32'
  | 'fixed64'
  | 'message'

/** One line of a table; `T` is what the field holds in memory. */
export interface Field<T> {
  readonly number: number
  readonly kind: FieldKind
  readonly repeated: boolean
  /** The table of the message that the field holds. */
  readonly message?: () => Message<object>
  /** Only for the compiler: the type of the values. */
  readonly _type?: T
}

/** A message type: its name for error messages and its fields in the order in which they are written. */
export interface Message<T extends object> {
  readonly name: string
  readonly fields: { readonly [K in keyof T]-?: Field<T[K]> }
}

const single =
  <T>(kind: FieldKind) =>
  (number: number): Field<T> => ({ number, kind, repeated: false })
const many =
  <T>(kind: FieldKind) =>
  (number: number): Field<readonly T[]> => ({ number, kind, repeated: true })

export const int = single<Integer>('int')
export const ints = many<Integer>('int')
export const float = single<number>('float')
export const floats = many<number>('float')
export const text = single<string>('string')
export const texts = many<string>('string')
export const bytes = single<Uint8Array>('bytes')
export const manyBytes = many<Uint8Array>('bytes')
export const blob = single<Blob>('blob')
/** Packed numbers in encoded form; several parts when the file has them in several pieces. */
export const varints = many<Blob>('varints')
export const fixed32 = many<Blob>('fixed32')
export const fixed64 = many<Blob>('fixed64')

export function message<T extends object>(number: number, table: () => Message<T>): Field<T> {
  return { number, kind: 'message', repeated: false, message: table }
}

export function messages<T extends object>(number: number, table: () => Message<T>): Field<readonly T[]> {
  return { number, kind: 'message', repeated: true, message: table }
}

/** What every field's encoding begins with: its number and one of these. */
export const wireTypes = { varint: 0, fixed64: 1, delimited: 2, fixed32: 5 } as const

/** The wire type of one value of a kind. */
export function wireTypeOf(kind: FieldKind): number {
  switch (kind) {
    case 'int':
    case 'varints':
      return wireTypes.varint
    case 'float':
    case 'fixed32':
      return wireTypes.fixed32
    case 'fixed64':
      return wireTypes.fixed64
    default:
      return wireTypes.delimited
  }
}

const entries = new WeakMap<Message<object>, readonly (readonly [string, Field<unknown>])[]>()

/** The entries of a table. */
export function fieldsOf(table: Message<object>): readonly (readonly [string, Field<unknown>])[] {
  const known = entries.get(table)
  if (known) return known
  const fields = Object.entries(table.fields) as [string, Field<unknown>][]
  entries.set(table, fields)
  return fields
}
