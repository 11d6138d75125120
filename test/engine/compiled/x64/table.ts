import type { Form, Place } from '../../../../src/engine/compiled/x64/forms.js'
import {
  at,
  type General,
  k,
  Label,
  Memory,
  type Operand,
  Register,
  type RegisterKind,
  r64,
  type Vector,
} from '../../../../src/engine/compiled/x64/operands.js'

/** An instruction as the table can emit it, and how a disassembler must print it. */
export interface Sample {
  readonly operands: readonly Operand[]
  readonly text: string
}

const lengths = [128, 256, 512]
const vectorKind = (bits: number): RegisterKind => (bits === 512 ? 'zmm' : bits === 256 ? 'ymm' : 'xmm')
const plainKinds: Record<string, RegisterKind> = { r64: 'r64', r32: 'r32', r8: 'r8', k: 'k', t: 'tmm', x: 'xmm', y: 'ymm', z: 'zmm' }
const sizes: Record<number, string> = { 8: 'BYTE', 16: 'WORD', 32: 'DWORD', 64: 'QWORD', 128: 'XMMWORD', 256: 'YMMWORD', 512: 'ZMMWORD' }
const immediates: Record<string, readonly (number | bigint)[]> = {
  i8: [1, 127, -128],
  u8: [1, 0x7f, 0xff],
  i32: [128, -129, 2 ** 31 - 1, -(2 ** 31)],
  u32: [2 ** 31, 2 ** 32 - 1],
  i64: [2n ** 32n, -(2n ** 63n), 2n ** 63n - 1n],
}

/** A choice for one place: the operand, and its text. */
interface Choice {
  readonly operand: Operand
  readonly text: string
}

/** Samples of a form: every place takes each of its choices while the others go round theirs. */
export function samplesOf(name: string, form: Form): Sample[] {
  const words = form.operands.flatMap((place) => place.words)
  const variants = words.includes('r') ? [32, 64] : words.some((word) => /^[vw]$/.test(word)) ? lengths : [fixedLength(words)]
  return variants.flatMap((length) => {
    if (form.space !== 'E' && length === 512) return []
    if (words.includes('w') && length === 128) return []
    const choices = form.operands.map((place) => choicesOf(name, form, place, length))
    const rounds = Math.max(1, ...choices.map((list) => list.length))
    const samples = Array.from({ length: 2 * rounds }, (_, round) => {
      // Steps without a common factor let every place meet the others' choices in changing company.
      const chosen = choices.map((list, i) => list[(round * [1, 1, 3, 5][i] + i * Math.floor(round / rounds)) % list.length])
      return { operands: chosen.map(({ operand }) => operand), text: textOf(name, form, chosen) }
    })
    return samples.filter(({ operands }) => !repeatsTile(operands))
  })
}

/** Products of tiles need three different ones. */
function repeatsTile(operands: readonly Operand[]): boolean {
  const tiles = operands.flatMap((operand) => (operand instanceof Register && operand.kind === 'tmm' ? [operand.index] : []))
  return new Set(tiles).size < tiles.length
}

function fixedLength(words: readonly string[]): number {
  return words.includes('z') ? 512 : words.includes('y') ? 256 : 128
}

function choicesOf(name: string, form: Form, place: Place, length: number): Choice[] {
  return place.words.flatMap((word): Choice[] => {
    if (word in immediates)
      return immediates[word].map((operand) => ({ operand, text: immediateText(word, operand, form.w === '1' ? 64 : length) }))
    if (word[0] === 'b' && form.space !== 'E') return []
    if (word === 'j') return [{ operand: new Label(), text: 'LABEL' }]
    if (/^(m|b|sib)/.test(word)) return memories(name, word, length).flatMap((choice) => masked(choice, place, form))
    return registersFor(word, length, form.space).flatMap((choice) => masked(choice, place, form))
  })
}

function immediateText(word: string, value: number | bigint, length: number): string {
  const bits = word === 'u8' ? 8 : word === 'i64' || length === 64 ? 64 : 32
  return `0x${BigInt.asUintN(bits, BigInt(value)).toString(16)}`
}

function registersFor(word: string, length: number, space: Form['space']): Choice[] {
  const share = word === 'h' ? 2 : word === 'q' ? 4 : 1
  const kind = /^[vwhq]$/.test(word)
    ? vectorKind(Math.max(128, length / share))
    : word === 'r'
      ? (`r${length}` as RegisterKind)
      : plainKinds[word]
  const vector = kind.endsWith('mm') && kind !== 'tmm'
  const few = kind === 'k' || kind === 'tmm'
  const indices = few ? [1, 7, 2, 5, 0] : [0, 9, 7, 15, 4, 12, 5, ...(vector && space === 'E' ? [16, 31, 23, 24] : [])]
  return indices.map((index) => ({ operand: new Register(kind, index), text: new Register(kind, index).name }))
}

function memories(name: string, word: string, length: number): Choice[] {
  const [, share, count] = /^[mb]([hq]?)(\d*)$/.exec(word) ?? []
  const bits = count ? Number(count) : length / (share === 'h' ? 2 : share === 'q' ? 4 : 1)
  const [rax, , , , rsp, rbp, , , r8, , , , r12, r13] = r64
  const index = r64[9]
  const far = [0x1234567, -0x12345]
  const near = [bits / 8, (-128 * bits) / 8, (127 * bits) / 8, (128 * bits) / 8, 1, 127, -128]
  const bare = [rax, rbp, rsp, r8, r12, r13].map((base) => at(base))
  const shifted = [...near, ...far].map((bytes, i) => at([rax, r13, rsp, rbp, r12, r8][i % 6], bytes))
  const indexed = ([1, 2, 4, 8] as const).flatMap((scale, i) => [at(r13, i % 2 ? 0 : 64, index, scale), at(rax, -4 * i, r12, scale)])
  const list = word === 'sib' ? indexed : [...bare, ...shifted, ...indexed]
  return list.map((place) => {
    const operand = word[0] === 'b' ? place.repeated() : place
    return { operand, text: memoryText(operand, name, word, bits) }
  })
}

function memoryText(memory: Memory, name: string, word: string, bits: number): string {
  const { base, index, scale, displacement } = memory
  const distance = displacement ? `${displacement < 0 ? '-' : '+'}0x${Math.abs(displacement).toString(16)}` : ''
  const noSize = word === 'sib' || name === 'lea' || /tilecfg$/.test(name)
  // A base of r13 or rbp always has a displacement, and rsp and r12 always a SIB byte; objdump does not tell.
  const zero = !displacement && base instanceof Register && (base.index & 7) === 5 ? '+0x0' : distance
  const place = `[${(base as General).name}${index ? `+${index.name}*${scale}` : ''}${zero}]`
  return noSize ? place : `${sizes[bits]} ${word[0] === 'b' ? 'BCAST' : 'PTR'} ${place}`
}

/** The choice without a mask, and with those that the place allows. */
function masked(choice: Choice, place: Place, form: Form): Choice[] {
  const { operand, text } = choice
  if (form.space !== 'E' || !place.mask || !(operand instanceof Register || operand instanceof Memory)) return [choice]
  const merged = { operand: operand.masked(k[1 + (text.length % 7)]), text: `${text}{k${1 + (text.length % 7)}}` }
  if (place.mask === 'k' || operand instanceof Memory) return [choice, merged]
  const mask = 7 - (text.length % 7)
  return [choice, merged, { operand: (operand as Vector).zeroed(k[mask]), text: `${text}{k${mask}}{z}` }]
}

function textOf(name: string, form: Form, chosen: readonly Choice[]): string {
  const texts = chosen.map(({ text }) => text)
  if (name === 'vcmpps' && texts[3] === '0x1') return `vcmpltps ${texts.slice(0, 3).join(',')}`
  return `${spelling(name, form)}${texts.length ? ` ${texts.join(',')}` : ''}`
}

/** How the disassembler calls the instruction. */
function spelling(name: string, form: Form): string {
  if (name.endsWith('Vex')) return `{vex} ${name.slice(0, -3)}`
  if (name.startsWith('lock')) return `lock ${name.slice(4).toLowerCase()}`
  if (name === 'movzx16') return 'movzx'
  if (name === 'mov' && form.operands[1].words[0] === 'i64') return 'movabs'
  return name
}
