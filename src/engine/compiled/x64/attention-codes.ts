import { smallestScale } from '../reference/quantize.js'
import type { Assembler } from './assembler.js'
import { type AttentionCode, attentionParameters, local, scratchLayout } from './attention-frame.js'
import { as, at, type General, Label, type Memory, r8q, r9, r10, r11, rax, rbx, rcx, rdx, rsi, type Vector, ymm } from './operands.js'
import { emitReduce } from './rows.js'

/** Sets r11 to where the scales of keys or values that begin at r9 do, and `scaleStride`: bytes from those of one head to those of the next. */
export function emitScaleStart({ a }: AttentionCode, columns: number, capacity: Memory): void {
  a.mov(rcx, capacity)
  a.imul(r11, rcx, columns)
  a.add(r11, r9)
  a.shl(rcx, 2)
  a.mov(local('scaleStride'), rcx)
}

/** Quantizes the sequence's rows from rax, `stride` apart, head by head: codes to r9, scales to r11, as cache-bytes.ts has them. Leaves rsi. */
export function emitQuantizeRows({ a, shape, lanes, constants }: AttentionCode, size: number, stride: Memory): void {
  const [largest, x, half, scale, one] = ymm
  const pieces = Array.from({ length: Math.ceil(size / 8) }, (_, i) => ({ first: 8 * i, count: Math.min(8, size - 8 * i) }))
  const [nextRow, nextHead] = [new Label(), new Label()]
  a.vmovups(one, constants.float(1))
  a.mov(rdx, local('rows'))
  a.mov(rcx, local('scaleStride'))
  a.bind(nextRow)
  a.mov(r8q, rax)
  a.mov(r10, r11)
  a.mov(rbx, shape.keyValueHeads)
  a.bind(nextHead)
  a.vpxor(largest, largest, largest)
  for (const { first, count } of pieces) {
    lanes.loadHalf(a, x, at(r8q, 4 * first), count)
    // Without their signs, numbers are in the order of their bits; what is not finite comes last.
    a.vpand(x, x, constants.word(0x7fffffff))
    a.vpmaxsd(largest, largest, x)
  }
  emitReduce(a, largest, half, (...registers) => a.vpmaxsd(...registers))
  a.vdivss(as('xmm', scale), as('xmm', largest), constants.float(127))
  a.vcmpps(as('xmm', half), as('xmm', scale), constants.float(smallestScale), 1)
  a.vblendvps(as('xmm', scale), as('xmm', scale), as('xmm', one), as('xmm', half))
  a.vmovss(at(r10), as('xmm', scale))
  a.vdivss(as('xmm', scale), as('xmm', one), as('xmm', scale))
  a.vbroadcastss(scale, as('xmm', scale))
  for (const { first, count } of pieces) {
    lanes.loadHalf(a, x, at(r8q, 4 * first), count)
    a.vmulps(x, x, scale)
    a.vcvtps2dq(x, x)
    a.vextracti128(as('xmm', half), x, 1)
    a.vpackssdw(as('xmm', x), as('xmm', x), as('xmm', half))
    a.vpacksswb(as('xmm', x), as('xmm', x), as('xmm', x))
    emitStoreBytes(a, at(r9, first), x, count)
  }
  a.add(r8q, 4 * size)
  a.add(r9, size)
  a.add(r10, rcx)
  a.dec(rbx)
  a.jne(nextHead)
  a.add(rax, stride)
  a.add(r11, 4)
  a.dec(rdx)
  a.jne(nextRow)
}

/** Writes the first `count` of 8 bytes. */
function emitStoreBytes(a: Assembler, place: Memory, vector: Vector, count: number): void {
  const bytes = as('xmm', vector)
  if (count === 8) {
    a.vmovq(place, bytes)
    return
  }
  const [two, one] = [count & 4, count & 6]
  if (count & 4) a.vpextrd(place, bytes, 0)
  if (count & 2) a.vpextrw(place.plus(two), bytes, two / 2)
  if (count & 1) a.vpextrb(place.plus(one), bytes, one)
}

/** Reads a vector of codes as float32; what stands behind the last may be read too. */
export function emitLoadCodes(a: Assembler, register: Vector, place: Memory): void {
  a.vpmovsxbd(register, place)
  a.vcvtdq2ps(register, register)
}

/** Where the block's keys or values of a head are, as float32 or as codes. */
const parts = {
  key: { head: 'headKeys', stride: 'keyStride', scales: 'keyScales', unpacked: 'keys' },
  value: { head: 'headValues', stride: 'valueStride', scales: 'valueScales', unpacked: 'values' },
} as const

/** Sets `register` to the scales of the block's first key or value. */
export function emitBlockScales(a: Assembler, name: keyof typeof parts, register: General): void {
  a.mov(register, local('blockStart'))
  a.shl(register, 2)
  a.add(register, local(parts[name].scales))
}

/** Sets rsi to the block's first key or value, and rcx to the distance of the next. */
export function emitBlockStart(a: Assembler, name: keyof typeof parts): void {
  const { head, stride } = parts[name]
  a.mov(rcx, local(stride))
  a.mov(rsi, local('blockStart'))
  a.imul(rsi, rcx)
  a.add(rsi, local(head))
}

/** Sets rsi to the block's first key or value in float32, and rcx to the distance of the next; codes become float32 in scratch memory. */
export function emitBlockFloats(code: AttentionCode, name: keyof typeof parts): void {
  const { a, machine, shape, lanes } = code
  emitBlockStart(a, name)
  if (shape.cache !== 'int8') return
  const size = name === 'key' ? shape.headSize : shape.valueSize
  const next = new Label()
  const [scale, x] = machine.registers
  emitBlockScales(a, name, r8q)
  a.mov(r9, attentionParameters.at('scratch'))
  a.add(r9, scratchLayout(shape, machine).many[parts[name].unpacked])
  a.mov(r10, r9)
  a.mov(rax, local('blockKeys'))
  a.align(32)
  a.bind(next)
  a.vbroadcastss(scale, at(r8q))
  for (const { first } of lanes.pieces(size)) {
    emitLoadCodes(a, x, at(rsi, first))
    a.vmulps(x, x, scale)
    a.vmovups(at(r9, 4 * first), x)
  }
  a.add(rsi, rcx)
  a.add(r8q, 4)
  a.add(r9, 4 * size)
  a.dec(rax)
  a.jne(next)
  a.mov(rsi, r10)
  a.mov(rcx, 4 * size)
}
