import { type Form, lengthOf, memoryBits, wordOf } from './forms.js'
import { Label, Memory, type Operand, Register } from './operands.js'

/** A 32-bit distance to be written once the label's place is known, counted from `next`. */
export interface Reference {
  readonly label: Label
  readonly at: number
  readonly next: number
  readonly addend: number
}

/** The bytes of one instruction; places are relative to its first byte. */
export interface Encoded {
  readonly bytes: number[]
  readonly reference?: Reference
}

const prefixes: Record<string, readonly number[]> = { NP: [], '66': [0x66], F3: [0xf3], F2: [0xf2], F0: [0xf0] }
const escapes: Record<string, readonly number[]> = { '0': [], '0F': [0x0f], '0F38': [0x0f, 0x38], '0F3A': [0x0f, 0x3a] }
const prefixCode: Record<string, number> = { NP: 0, '66': 1, F3: 2, F2: 3 }
const mapCode: Record<string, number> = { '0F': 1, '0F38': 2, '0F3A': 3 }
const immediateBytes: Record<string, number> = { i8: 1, u8: 1, i32: 4, u32: 4, i64: 8 }

/** The instruction in this form, or undefined where the operands do not fit it. */
export function encode(form: Form, operands: readonly Operand[]): Encoded | undefined {
  if (operands.length !== form.operands.length) return undefined
  const length = lengthOf(form, operands)
  const words: string[] = []
  for (let i = 0; i < operands.length; i++) {
    const word = wordOf(form.operands[i], operands[i], length, form.space)
    if (!word) return undefined
    words.push(word)
  }
  const { places } = form
  const fields = fieldsOf(form, operands, words, length)
  const bytes =
    form.space === 'L' ? legacyHead(form, fields) : form.space === 'V' ? vexHead(form, fields) : evexHead(form, fields, operands)
  for (const byte of form.opcode) bytes.push(byte)
  if (places.O >= 0) bytes[bytes.length - 1] += fields.rm & 7
  const label = modRM(bytes, form, words, fields)
  const at = bytes.length - 4
  if (places.I >= 0) pushNumber(bytes, operands[places.I] as number | bigint, immediateBytes[words[places.I]])
  if (places.S >= 0) bytes.push((operands[places.S] as Register).index << 4)
  if (places.J >= 0) {
    pushNumber(bytes, 0, 4)
    return { bytes, reference: { label: operands[places.J] as Label, at: bytes.length - 4, next: bytes.length, addend: 0 } }
  }
  return label ? { bytes, reference: { label, at, next: bytes.length, addend: fields.memory?.displacement ?? 0 } } : { bytes }
}

/** The numbers that prefixes and ModRM share out among themselves. */
interface Fields {
  readonly reg: number
  readonly vvvv: number
  /** ModRM.rm's register, or the base of the memory. */
  readonly rm: number
  readonly index: number
  readonly memory: Memory | undefined
  readonly w: number
  /** Bits of the vector, or of the general registers. */
  readonly length: number
  /** Displacements of 8 bits count in units of so many bytes. */
  readonly unit: number
  /** A byte register that only exists with a REX prefix. */
  readonly byte: boolean
}

function fieldsOf(form: Form, operands: readonly Operand[], words: readonly string[], length: number): Fields {
  const { places } = form
  const rm = operands[places.M]
  const memory = rm instanceof Memory ? rm : undefined
  return {
    reg: form.digit ?? indexOf(operands[places.R]),
    vvvv: indexOf(operands[places.V]),
    rm: memory ? indexOf(memory.base) : indexOf(operands[places.O >= 0 ? places.O : places.M]),
    index: memory?.index?.index ?? 0,
    memory,
    w: form.w === 'W' ? Number(length === 64) : Number(form.w),
    length,
    unit: memory && form.space === 'E' ? memoryBits(words[places.M], length) / 8 : 1,
    byte: form.space === 'L' && operands.some((operand) => operand instanceof Register && operand.kind === 'r8' && operand.index > 3),
  }
}

function indexOf(operand: Operand | undefined): number {
  return operand instanceof Register ? operand.index : 0
}

const bit = (value: number, place: number) => (value >> place) & 1

function legacyHead(form: Form, { reg, rm, index, w, byte }: Fields): number[] {
  const rex = 0x40 | (w << 3) | (bit(reg, 3) << 2) | (bit(index, 3) << 1) | bit(rm, 3)
  return [...prefixes[form.prefix], ...(rex > 0x40 || byte ? [rex] : []), ...escapes[form.map]]
}

function vexHead(form: Form, { reg, vvvv, rm, index, w, length }: Fields): number[] {
  const last = ((~vvvv & 15) << 3) | (length === 256 ? 4 : 0) | prefixCode[form.prefix]
  const [r, x, b] = [bit(~reg, 3), bit(~index, 3), bit(~rm, 3)]
  if (x && b && !w && form.map === '0F') return [0xc5, (r << 7) | last]
  return [0xc4, (r << 7) | (x << 6) | (b << 5) | mapCode[form.map], (w << 7) | last]
}

function evexHead(form: Form, { reg, vvvv, rm, index, memory, w, length }: Fields, operands: readonly Operand[]): number[] {
  const decorated = operands.find((operand) => (operand instanceof Register || operand instanceof Memory) && operand.mask)
  const mask = decorated instanceof Register || decorated instanceof Memory ? decorated.mask!.index : 0
  const zeroing = decorated instanceof Register && decorated.zeroing
  const x = memory ? bit(~index, 3) : bit(~rm, 4)
  return [
    0x62,
    (bit(~reg, 3) << 7) | (x << 6) | (bit(~rm, 3) << 5) | (bit(~reg, 4) << 4) | mapCode[form.map],
    (w << 7) | ((~vvvv & 15) << 3) | 4 | prefixCode[form.prefix],
    (Number(zeroing) << 7) | (lengthCode(length) << 5) | (Number(memory?.broadcast ?? false) << 4) | (bit(~vvvv, 4) << 3) | mask,
  ]
}

function lengthCode(length: number): number {
  return length === 512 ? 2 : length === 256 ? 1 : 0
}

/** Adds ModRM, SIB and displacement; returns the label that the displacement leads to. */
function modRM(bytes: number[], form: Form, words: readonly string[], fields: Fields): Label | undefined {
  const { reg, rm, memory, unit } = fields
  if (form.places.R < 0 && form.places.M < 0) return undefined
  const middle = (reg & 7) << 3
  if (!memory) {
    bytes.push(0xc0 | middle | (rm & 7))
    return undefined
  }
  if (memory.base instanceof Label) {
    bytes.push(middle | 5, 0, 0, 0, 0)
    return memory.base
  }
  const { index, displacement } = memory
  const short = displacement % unit === 0 && Math.abs(displacement / unit + 0.5) < 128
  // rbp and r13 without a displacement would mean something else.
  const mod = displacement === 0 && (rm & 7) !== 5 ? 0 : short ? 1 : 2
  if (index || (rm & 7) === 4 || words[form.places.M] === 'sib') {
    bytes.push((mod << 6) | middle | 4, (Math.log2(memory.scale) << 6) | ((index ? index.index & 7 : 4) << 3) | (rm & 7))
  } else bytes.push((mod << 6) | middle | (rm & 7))
  if (mod === 1) pushNumber(bytes, displacement / unit, 1)
  else if (mod === 2) pushNumber(bytes, displacement, 4)
  return undefined
}

function pushNumber(bytes: number[], value: number | bigint, count: number): void {
  if (count > 4) {
    const wide = BigInt.asUintN(64, BigInt(value))
    pushNumber(bytes, Number(wide & 0xffffffffn), 4)
    pushNumber(bytes, Number(wide >> 32n), 4)
  } else for (let i = 0; i < count; i++) bytes.push((Number(value) >> (8 * i)) & 255)
}
