import { type Form, lengthOf, memoryBits, wordOf } from './forms.js'
import { Label, Memory, type Operand, Register } from './operands.js'

/** A 32-bit distance to be written once the label's place is known, counted from `next`. */
export interface Reference {
  readonly label: Label
  readonly at: number
  readonly next: number
  readonly addend: number
}

const prefixes: Record<string, readonly number[]> = { NP: [], '66': [0x66], F3: [0xf3], F2: [0xf2], F0: [0xf0] }
const escapes: Record<string, readonly number[]> = { '0': [], '0F': [0x0f], '0F38': [0x0f, 0x38], '0F3A': [0x0f, 0x3a] }
const prefixCode: Record<string, number> = { NP: 0, '66': 1, F3: 2, F2: 3 }
const mapCode: Record<string, number> = { '0F': 1, '0F38': 2, '0F3A': 3 }
const lengthCode: Record<number, number> = { 256: 1, 512: 2 }
const immediateBytes: Record<string, number> = { i8: 1, u8: 1, i32: 4, u32: 4, i64: 8 }

/** A form with all that it says of operands of one signature; places are those of operands, or -1. */
export interface Fit {
  readonly form: Form
  /** What stands in ModRM.reg and in the third register of VEX. */
  readonly reg: number
  readonly vvvv: number
  /** What stands in ModRM.rm or the opcode, whether that is memory, and whether the memory is a label. */
  readonly target: number
  readonly isMemory: boolean
  readonly isLabel: boolean
  /** What has a mask. */
  readonly masked: number
  /** Whether it has byte registers, of which some need a REX prefix. */
  readonly hasBytes: boolean
  readonly prefixBytes: readonly number[]
  readonly mapBytes: readonly number[]
  readonly prefixCode: number
  readonly mapCode: number
  readonly lengthCode: number
  readonly w: number
  /** Displacements of 8 bits count in units of so many bytes. */
  readonly unit: number
  readonly immediateBytes: number
  /** Memory is always written with an index. */
  readonly isIndexed: boolean
}

/** How the form takes the operands, or undefined where it does not; the same for all operands of a {@link signatureOf signature}. */
export function fitOf(form: Form, operands: readonly Operand[]): Fit | undefined {
  if (operands.length !== form.operands.length) return undefined
  const length = lengthOf(form, operands)
  const words: string[] = []
  for (let i = 0; i < operands.length; i++) {
    const word = wordOf(form.operands[i], operands[i], length, form.space)
    if (!word) return undefined
    words.push(word)
  }
  const { places, space } = form
  const target = places.O >= 0 ? places.O : places.M
  const memory = operands[target] instanceof Memory ? (operands[target] as Memory) : undefined
  return {
    form,
    reg: places.R,
    vvvv: places.V,
    target,
    isMemory: memory !== undefined,
    isLabel: memory?.base instanceof Label,
    masked: operands.findIndex((operand) => (operand instanceof Register || operand instanceof Memory) && operand.mask),
    hasBytes: operands.some((operand) => operand instanceof Register && operand.kind === 'r8'),
    prefixBytes: prefixes[form.prefix],
    mapBytes: escapes[form.map],
    prefixCode: prefixCode[form.prefix],
    mapCode: mapCode[form.map],
    lengthCode: lengthCode[length] ?? 0,
    w: form.w === 'W' ? Number(length === 64) : Number(form.w),
    unit: space === 'E' && memory ? memoryBits(words[places.M], length) / 8 : 1,
    immediateBytes: places.I < 0 ? 0 : immediateBytes[words[places.I]],
    isIndexed: words[places.M] === 'sib',
  }
}

const numberLimits = [-(2 ** 31), -128, 0, 128, 256, 2 ** 31]

/** Equal for operands of which every form takes both or none. */
export function signatureOf(operands: readonly Operand[]): number {
  let signature = 0
  for (const operand of operands) signature = 128 * signature + (typeof operand === 'object' ? operand.signature : rangeOf(operand))
  return signature
}

/** From 58 on; `u32` is the last of the forms' ranges, beyond which numbers are as bigints. */
function rangeOf(number: number | bigint): number {
  if (typeof number === 'bigint' || number >= 2 ** 32) return numberLimits.length + 59
  let range = 58
  for (const limit of numberLimits) if (number >= limit) range++
  return range
}

const bit = (value: number, place: number) => (value >> place) & 1

/** No instruction has more bytes. */
const longest = 15

/** Machine code that grows by instructions. */
export class CodeWriter {
  #bytes = new Uint8Array(4096)
  #length = 0
  readonly references: Reference[] = []

  /** Bytes so far. */
  get length(): number {
    return this.#length
  }

  /** A copy of all bytes. */
  bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#length)
  }

  append(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#bytes.set(bytes, this.#length)
    this.#length += bytes.length
  }

  /** The instruction that a form makes of operands that it takes. */
  write(fit: Fit, operands: readonly Operand[]): void {
    this.#reserve(longest)
    const { form, isMemory, immediateBytes } = fit
    const { places, opcode } = form
    const bytes = this.#bytes
    const target = operands[fit.target]
    const reg = fit.reg < 0 ? (form.digit ?? 0) : (operands[fit.reg] as Register).index
    const rm = fit.target < 0 || fit.isLabel ? 0 : isMemory ? ((target as Memory).base as Register).index : (target as Register).index
    const index = isMemory ? ((target as Memory).index?.index ?? 0) : 0
    let at = heads[form.space](bytes, this.#length, fit, reg, rm, index, operands)
    for (let i = 0; i < opcode.length; i++) bytes[at++] = opcode[i]
    if (places.O >= 0) bytes[at - 1] += rm & 7
    const start = at
    if (isMemory) at = writeMemory(bytes, at, fit, (reg & 7) << 3, rm, target as Memory)
    else if (places.R >= 0 || places.M >= 0) bytes[at++] = 0xc0 | ((reg & 7) << 3) | (rm & 7)
    if (immediateBytes) at = writeNumber(bytes, at, operands[places.I] as number | bigint, immediateBytes)
    if (places.S >= 0) bytes[at++] = (operands[places.S] as Register).index << 4
    if (places.J >= 0) at = writeNumber(bytes, at, 0, 4)
    this.#length = at
    if (places.J >= 0) this.references.push({ label: operands[places.J] as Label, at: start, next: at, addend: 0 })
    else if (fit.isLabel) {
      const { base, displacement } = target as Memory
      this.references.push({ label: base as Label, at: start + 1, next: at, addend: displacement })
    }
  }

  #reserve(bytes: number): void {
    const end = this.#length + bytes
    if (end <= this.#bytes.length) return
    const larger = new Uint8Array(2 * end)
    larger.set(this.#bytes)
    this.#bytes = larger
  }
}

/** Writes what stands before the opcode, and says where that goes. */
type Head = (bytes: Uint8Array, at: number, fit: Fit, reg: number, rm: number, index: number, operands: readonly Operand[]) => number

const heads: Readonly<Record<Form['space'], Head>> = {
  L(bytes, at, { prefixBytes, mapBytes, w, hasBytes }, reg, rm, index, operands) {
    const rex = 0x40 | (w << 3) | ((reg & 8) >> 1) | ((index & 8) >> 2) | ((rm & 8) >> 3)
    for (const byte of prefixBytes) bytes[at++] = byte
    if (rex > 0x40 || (hasBytes && operands.some(needsRex))) bytes[at++] = rex
    for (const byte of mapBytes) bytes[at++] = byte
    return at
  },

  V(bytes, at, { w, prefixCode, mapCode, lengthCode, vvvv }, reg, rm, index, operands) {
    const third = vvvv < 0 ? 0 : (operands[vvvv] as Register).index
    const last = ((~third & 15) << 3) | (lengthCode << 2) | prefixCode
    const r = (~reg & 8) << 4
    if (index < 8 && rm < 8 && !w && mapCode === 1) {
      bytes[at++] = 0xc5
      bytes[at++] = r | last
      return at
    }
    bytes[at++] = 0xc4
    bytes[at++] = r | ((~index & 8) << 3) | ((~rm & 8) << 2) | mapCode
    bytes[at++] = (w << 7) | last
    return at
  },

  E(bytes, at, { w, prefixCode, mapCode, lengthCode, masked, isMemory, target, vvvv }, reg, rm, index, operands) {
    const third = vvvv < 0 ? 0 : (operands[vvvv] as Register).index
    const decorated = masked < 0 ? undefined : (operands[masked] as Register | Memory)
    const zeroing = decorated instanceof Register && decorated.zeroing
    const broadcast = isMemory && (operands[target] as Memory).broadcast
    const x = isMemory ? bit(~index, 3) : bit(~rm, 4)
    const mask = decorated?.mask?.index ?? 0
    bytes[at++] = 0x62
    bytes[at++] = (bit(~reg, 3) << 7) | (x << 6) | (bit(~rm, 3) << 5) | (bit(~reg, 4) << 4) | mapCode
    bytes[at++] = (w << 7) | ((~third & 15) << 3) | 4 | prefixCode
    bytes[at++] = (Number(zeroing) << 7) | (lengthCode << 5) | (Number(broadcast) << 4) | (bit(~third, 4) << 3) | mask
    return at
  },
}

/** ModRM, SIB and displacement; says what follows them. */
function writeMemory(bytes: Uint8Array, at: number, { unit, isIndexed, isLabel }: Fit, middle: number, rm: number, memory: Memory): number {
  if (isLabel) {
    bytes[at++] = middle | 5
    return writeNumber(bytes, at, 0, 4)
  }
  const { index, scale, displacement } = memory
  const short = displacement % unit === 0 && Math.abs(displacement / unit + 0.5) < 128
  // rbp and r13 without a displacement would mean something else.
  const mod = displacement === 0 && (rm & 7) !== 5 ? 0 : short ? 1 : 2
  if (index || (rm & 7) === 4 || isIndexed) {
    bytes[at++] = (mod << 6) | middle | 4
    // 4 says that there is no index.
    bytes[at++] = (Math.log2(scale) << 6) | ((index ? index.index & 7 : 4) << 3) | (rm & 7)
  } else bytes[at++] = (mod << 6) | middle | (rm & 7)
  if (mod === 1) bytes[at++] = displacement / unit
  return mod === 2 ? writeNumber(bytes, at, displacement, 4) : at
}

function writeNumber(bytes: Uint8Array, at: number, value: number | bigint, count: number): number {
  if (count > 4) {
    const wide = BigInt.asUintN(64, BigInt(value))
    return writeNumber(bytes, writeNumber(bytes, at, Number(wide & 0xffffffffn), 4), Number(wide >> 32n), 4)
  }
  for (let i = 0; i < count; i++) bytes[at++] = Number(value) >> (8 * i)
  return at
}

/** Byte registers that only exist with a REX prefix. */
function needsRex(operand: Operand): boolean {
  return operand instanceof Register && operand.kind === 'r8' && operand.index > 3
}
