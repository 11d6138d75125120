import { Label, type Mask, Memory, type Operand, Register, type RegisterKind } from './operands.js'

/**
 * One way to write an instruction, as text: operands, then encoding.
 *
 * Operands, separated by commas; alternatives for one place are separated by slashes:
 *
 * | word | what it is |
 * |---|---|
 * | `r64 r32 r8 x y z k t` | a register of that file |
 * | `r` | r32 or r64, which also decides the operand size |
 * | `v`, `w` | a vector of the instruction's length; of 256 bits or more |
 * | `h`, `q` | a vector of half, a quarter of that length, 128 bits at least |
 * | `m8` ... `m512` | memory of that many bits |
 * | `m`, `mh`, `mq` | memory of the length of the operand size or vector, a half, a quarter |
 * | `b32 b64` | one element in memory, repeated over the vector |
 * | `sib` | rows in memory: base, index * scale as the stride |
 * | `i8 u8 i32 u32 i64` | an immediate |
 * | `j` | a label to jump to |
 * | `{k}`, `{kz}` | may be written under a mask; zeroing too |
 *
 * Encoding: where each operand goes, space, prefix, opcode map, W bit, opcode (with the digit of ModRM).
 *
 * - Places: R ModRM.reg, M ModRM.rm, V the third register of VEX, O low bits of the opcode, I immediate, S the register
 *   in an immediate, J relative to the next instruction, N none.
 * - Space: L legacy, V VEX, E EVEX, VE whichever the operands allow, VEX first. W: 0, 1, or W for the operand size.
 *
 * Source: Intel 64 Software Developer's Manual, volume 2, whose notation it abbreviates.
 */
export type FormText = `${string} | ${string}`

interface OperandTypes {
  r64: Register<'r64'>
  r32: Register<'r32'>
  r8: Register<'r8'>
  r: Register<'r64' | 'r32'>
  x: Register<'xmm'>
  y: Register<'ymm'>
  z: Register<'zmm'>
  k: Mask
  t: Register<'tmm'>
  v: Register<'xmm' | 'ymm' | 'zmm'>
  w: Register<'ymm' | 'zmm'>
  h: Register<'xmm' | 'ymm'>
  q: Register<'xmm'>
  i64: bigint | number
  j: Label
}
type OperandType<Word extends string> = Word extends keyof OperandTypes
  ? OperandTypes[Word]
  : Word extends `${'m' | 'b' | 'sib'}${string}`
    ? Memory
    : number
type Alternatives<Text extends string> = Text extends `${infer Plain}{${string}}`
  ? Alternatives<Plain>
  : Text extends `${infer First}/${infer Rest}`
    ? OperandType<First> | Alternatives<Rest>
    : OperandType<Text>
type Tuple<Text extends string> = Text extends ''
  ? []
  : Text extends `${infer First}, ${infer Rest}`
    ? [Alternatives<First>, ...Tuple<Rest>]
    : [Alternatives<Text>]

/** The arguments of an instruction's function, read from its forms. */
export type OperandsOf<Text extends FormText> = Text extends `${infer Operands} | ${string}` ? Tuple<Operands> : never

/** Whether a word takes an operand, where the instruction has a length in bits. */
type Acceptor = (operand: Operand, length: number) => boolean

/** What one place of a form accepts. */
export interface Place {
  readonly words: readonly string[]
  readonly accepts: readonly Acceptor[]
  readonly mask: '' | 'k' | 'kz'
}

/** A form, read from its text. */
export interface Form {
  readonly space: 'L' | 'V' | 'E'
  readonly operands: readonly Place[]
  /** The operand in each place of the encoding, or -1. */
  readonly places: Readonly<Record<Role, number>>
  readonly prefix: string
  readonly map: string
  readonly w: string
  /** All bytes of the opcode after the map. */
  readonly opcode: readonly number[]
  /** What ModRM.reg says where no operand does. */
  readonly digit: number | undefined
  /** The operand whose register decides the length, or -1; the length is fixed then. */
  readonly sized: number
  readonly length: number
}

/** A place of the encoding. */
export type Role = 'R' | 'M' | 'V' | 'O' | 'I' | 'S' | 'J'
const roleNames: readonly Role[] = ['R', 'M', 'V', 'O', 'I', 'S', 'J']

/** Reads the text of a form; `VE` gives two, VEX first. */
export function parseForm(text: FormText): Form[] {
  const [left, right] = text.split('|').map((part) => part.trim())
  const [roles, spaces, prefix, map, w, code] = right.split(' ')
  const [opcode, digit] = code.split('/')
  return ([...spaces] as Form['space'][]).map((space) => {
    const operands = left
      .split(', ')
      .filter(Boolean)
      .map((place): Place => {
        const [list, mask = ''] = place.split(/[{}]/)
        const words = list.split('/')
        return { words, accepts: words.map((word) => acceptorOf(word, space)), mask: mask as Place['mask'] }
      })
    const words = operands.flatMap((place) => place.words)
    return {
      space,
      operands,
      places: Object.fromEntries(roleNames.map((role) => [role, roles === 'N' ? -1 : roles.indexOf(role)])) as Form['places'],
      prefix,
      map,
      w,
      opcode: opcode.match(/../g)!.map((byte) => Number.parseInt(byte, 16)),
      digit: digit === undefined ? undefined : Number(digit),
      sized: operands.findIndex((place) => place.words.some((word) => word === 'v' || word === 'w' || word === 'r')),
      length: words.includes('z') ? 512 : words.includes('y') ? 256 : words.includes('x') ? 128 : 0,
    }
  })
}

const kindBits: Readonly<Record<RegisterKind, number>> = { r64: 64, r32: 32, r8: 8, xmm: 128, ymm: 256, zmm: 512, k: 64, tmm: 0 }
const files: Record<string, RegisterKind> = { r64: 'r64', r32: 'r32', r8: 'r8', x: 'xmm', y: 'ymm', z: 'zmm', k: 'k', t: 'tmm' }
const ranges: Record<string, readonly [number, number]> = {
  i8: [-128, 127],
  u8: [-128, 255],
  i32: [-(2 ** 31), 2 ** 31 - 1],
  u32: [0, 2 ** 32 - 1],
}

/** Bits of a register or vector that the operands agree on: the operand size or the vector length. */
export function lengthOf({ sized, length }: Form, operands: readonly Operand[]): number {
  if (sized < 0) return length
  const operand = operands[sized]
  return operand instanceof Register ? kindBits[operand.kind] : 0
}

/** Bits of memory that the word stands for. */
export function memoryBits(word: string, length: number): number {
  const [, share, bits] = /^[mb]([hq]?)(\d*)$/.exec(word) ?? []
  if (bits) return Number(bits)
  return share === 'h' ? length / 2 : share === 'q' ? length / 4 : length
}

/** The word of the place that the operand fits, or undefined where it does not fit. */
export function wordOf({ words, accepts, mask }: Place, operand: Operand, length: number, space: Form['space']): string | undefined {
  if ((operand instanceof Register || operand instanceof Memory) && operand.mask) {
    if (space !== 'E' || !mask || (operand instanceof Register && operand.zeroing && mask !== 'kz')) return undefined
  }
  for (let i = 0; i < accepts.length; i++) if (accepts[i](operand, length)) return words[i]
  return undefined
}

function acceptorOf(word: string, space: Form['space']): Acceptor {
  if (word === 'j') return (operand) => operand instanceof Label
  if (word === 'i64') return (operand) => typeof operand === 'bigint' || typeof operand === 'number'
  if (word in ranges) {
    const [low, high] = ranges[word]
    return (operand) => typeof operand === 'number' && operand >= low && operand <= high
  }
  if (word[0] === 'b') return (operand) => operand instanceof Memory && operand.broadcast && space === 'E'
  if (word[0] === 'm' || word === 'sib') return (operand) => operand instanceof Memory && !operand.broadcast
  const fits = registerAcceptorOf(word)
  return (operand, length) => operand instanceof Register && isEncodable(operand, space) && fits(operand.kind, length)
}

/** Only EVEX reaches vectors of 512 bits, and those from 16 on. */
function isEncodable({ kind, index }: Register, space: Form['space']): boolean {
  return space === 'E' || (kind !== 'zmm' && index < 16)
}

function registerAcceptorOf(word: string): (kind: RegisterKind, length: number) => boolean {
  if (word === 'r') return (kind) => kind === 'r32' || kind === 'r64'
  const share = { v: 1, w: 1, h: 2, q: 4 }[word]
  if (!share) return (kind) => kind === files[word]
  const shortest = word === 'w' ? 256 : 128
  return (kind, length) => kindBits[kind] >= shortest && kindBits[kind] === Math.max(128, length / share)
}
