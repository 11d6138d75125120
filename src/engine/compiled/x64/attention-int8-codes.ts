import { exponentsPerOctave, highestCode, leastScoreFactor } from '../reference/attention-int8.js'
import { smallestScale } from '../reference/quantize.js'
import { attentionParameters, local } from './attention-frame.js'
import { type CodesAttention, codesLayout, emitBytes, emitGroups } from './attention-int8-frame.js'
import type { Piece } from './attention-lanes.js'
import {
  as,
  at,
  eax,
  type General,
  Label,
  type Memory,
  r8q,
  r9,
  r10,
  r11,
  r12,
  r13,
  rax,
  rbx,
  rcx,
  rdx,
  rsi,
  type Vector,
} from './operands.js'
import { emitReduce } from './rows.js'

/** Vectors of columns that are worked on side by side. */
const together = 4

/** Where the rows of a head are: the first one, and how far they lie apart. */
const rowsOf = {
  key: { head: local('headKeys'), stride: attentionParameters.at('keyStride') },
  value: { head: local('headValues'), stride: attentionParameters.at('valueStride') },
  query: { head: local('headQuery'), stride: attentionParameters.at('queryStride') },
} as const

function emitStart({ a }: CodesAttention, name: keyof typeof rowsOf): void {
  const { head, stride } = rowsOf[name]
  a.mov(r8q, attentionParameters.at('scratch'))
  a.mov(rsi, head)
  a.mov(rcx, stride)
}

function bySets<T>(all: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(all.length / together) }, (_, i) => all.slice(i * together, (i + 1) * together))
}

/** Writes the largest magnitude of each column of the sequence to r8 + `to`, NaN where there is one. Overwrites rax, rcx, rdx, rsi. */
function emitMaxima(code: CodesAttention, name: keyof typeof rowsOf, columns: number, to: number): void {
  const { a, machine, lanes, constants } = code
  const [x, magnitude, ...maxima] = machine.registers
  emitStart(code, name)
  a.vmovups(magnitude, constants.word(0x7fffffff))
  for (const pieces of bySets(lanes.pieces(columns))) {
    for (const i of pieces.keys()) a.vxorps(maxima[i], maxima[i], maxima[i])
    a.mov(rax, rsi)
    a.mov(rdx, local('rows'))
    const next = a.here()
    for (const [i, { first, count }] of pieces.entries()) {
      lanes.load(a, x, at(rax, 4 * first), count)
      a.vandps(x, x, magnitude)
      a.vpmaxsd(maxima[i], maxima[i], x)
    }
    a.add(rax, rcx)
    a.dec(rdx)
    a.jne(next)
    for (const [i, { first }] of pieces.entries()) a.vmovups(at(r8q, to + 4 * first), maxima[i])
  }
}

/** Writes scales of columns, times a factor, and 1 / the scales. */
function emitScales(code: CodesAttention, name: 'key' | 'value', factor: number, scaleAt: number, inverseAt: number): void {
  const { a, machine, lanes, shape, constants } = code
  const [scale, inverse] = machine.registers
  const columns = name === 'key' ? shape.headSize : shape.valueSize
  emitMaxima(code, name, columns, scaleAt)
  for (const { first } of lanes.pieces(columns)) {
    a.vmovups(scale, at(r8q, scaleAt + 4 * first))
    a.vdivps(scale, scale, constants.float(highestCode[name]))
    a.vmovups(inverse, constants.float(smallestScale))
    a.vmaxps(scale, inverse, scale)
    a.vmovups(inverse, constants.float(1))
    a.vdivps(inverse, inverse, scale)
    a.vmovups(at(r8q, inverseAt + 4 * first), inverse)
    a.vmulps(scale, scale, constants.float(factor))
    a.vmovups(at(r8q, scaleAt + 4 * first), scale)
  }
}

/** Sets `registers` to the codes of columns of a row, integers of 32 bits. */
function emitIntegers(
  { a, lanes }: CodesAttention,
  row: General,
  pieces: readonly Piece[],
  multipliers: number,
  registers: readonly Vector[],
): void {
  for (const [i, { first, count }] of pieces.entries()) {
    lanes.load(a, registers[i], at(row, 4 * first), count)
    a.vmulps(registers[i], registers[i], at(r8q, multipliers + 4 * first))
    a.vcvtps2dq(registers[i], registers[i])
  }
}

/** Codes of the row at rax to `to`; with an offset they are unsigned. */
function emitRowCodes(code: CodesAttention, columns: number, multipliers: number, order: Vector, to: Memory, offset?: Memory): void {
  const { a, machine, lanes } = code
  for (const [set, pieces] of bySets(lanes.pieces(columns)).entries()) {
    const registers = machine.registers.slice(0, pieces.length)
    emitIntegers(code, rax, pieces, multipliers, registers)
    emitBytes(a, registers, order)
    if (offset) a.vpaddb(registers[0], registers[0], offset)
    a.vmovups(to.plus(set * machine.bytes), registers[0])
  }
}

/** Codes of the keys of a head: [vectors of keys][groups of 4 columns][keys of the vector][4 columns]; and what sums of products begin with. */
export function emitPackKeys(code: CodesAttention): void {
  const { a, machine, shape, dot, constants } = code
  const { groups, factors, keyInverse, keyRow } = codesLayout(shape, dot)
  const order = machine.registers[15]
  const [nextVector, nextKey, done] = [new Label(), new Label(), new Label()]
  emitScales(code, 'key', Math.fround(shape.scale * Math.LOG2E * exponentsPerOctave), factors, keyInverse)
  a.vmovups(order, constants.packedOrder())
  a.mov(rax, rsi)
  a.mov(r9, local('keyCodes'))
  a.mov(rdx, local('rows'))
  a.bind(nextVector)
  a.mov(rbx, machine.lanes)
  a.bind(nextKey)
  emitRowCodes(code, shape.headSize, keyInverse, order, at(r8q, keyRow))
  a.add(rax, rcx)
  a.mov(r10, rax)
  for (let group = 0; group < groups; group++) {
    a.mov(eax, at(r8q, keyRow + 4 * group))
    a.mov(at(r9, group * machine.bytes), eax)
  }
  a.mov(rax, r10)
  a.add(r9, 4)
  a.dec(rdx)
  a.je(done)
  a.dec(rbx)
  a.jne(nextKey)
  a.add(r9, (groups - 1) * machine.bytes)
  a.jmp(nextVector)
  a.bind(done)
  emitStarts(code)
}

/** Added to the codes of queries, so that they are unsigned. */
export const queryOffset = highestCode.query + 1

/** The score of a key that a query may not see; more products may be added. */
export const hidden = -(2 ** 30)

/** What sums begin with: less what the offset of queries adds; and what hides keys behind the last. */
function emitStarts({ a, machine, shape, dot, constants }: CodesAttention): void {
  const { groups, keyVector } = codesLayout(shape, dot)
  const free = machine.registers.slice(dot.rows * dot.across)
  const [sum, zero] = machine.registers
  const next = new Label()
  const offsets = constants.word(queryOffset * 0x01010101)
  a.mov(r9, local('keyCodes'))
  a.mov(r10, local('keyStarts'))
  a.mov(rdx, local('rows'))
  dot.prepare(a, free)
  a.bind(next)
  a.vxorps(sum, sum, sum)
  a.mov(r11, r9)
  emitGroups(
    a,
    groups,
    rax,
    (group) => dot.step(a, { sums: [[sum]], free, activations: () => offsets, weights: () => at(r11, group * machine.bytes) }),
    (count) => a.add(r11, count * machine.bytes),
  )
  a.vxorps(zero, zero, zero)
  a.vpsubd(sum, zero, sum)
  a.vmovups(at(r10), sum)
  a.add(r9, keyVector)
  a.add(r10, machine.bytes)
  a.sub(rdx, machine.lanes)
  a.jg(next)
  a.vmovups(sum, constants.word(hidden))
  a.mov(rax, local('rows'))
  a.mov(r10, local('keyStarts'))
  a.vmovups(at(r10, 0, rax, 4), sum)
}

/** Codes of the values of a head: [groups of 4 values][columns][4 values]; the last group repeats the last value. */
export function emitPackValues(code: CodesAttention): void {
  const { a, machine, shape, lanes, dot, constants } = code
  const { valueScale, valueInverse, valueGroup } = codesLayout(shape, dot)
  const rows = [r10, r11, r12, r13]
  const [transposed, ...rest] = machine.registers
  const four = rest.slice(0, 4)
  const next = new Label()
  emitScales(code, 'value', 1, valueScale, valueInverse)
  a.vmovups(
    transposed,
    constants.words((lane) => 0x0c080400 + 0x01010101 * (lane % 4)),
  )
  a.mov(r9, local('valueCodes'))
  a.mov(rdx, local('rows'))
  a.bind(next)
  for (const row of rows) {
    a.mov(row, rsi)
    a.lea(rax, at(rsi, 0, rcx))
    a.dec(rdx)
    a.cmp(rdx, 0)
    a.cmovg(rsi, rax)
  }
  for (const [v, piece] of lanes.pieces(shape.valueSize).entries()) {
    for (const [i, row] of rows.entries()) emitIntegers(code, row, [piece], valueInverse, [four[i]])
    a.vpackssdw(four[0], four[0], four[1])
    a.vpackssdw(four[2], four[2], four[3])
    a.vpacksswb(four[0], four[0], four[2])
    a.vpshufb(four[0], four[0], transposed)
    a.vmovups(at(r9, v * machine.bytes), four[0])
  }
  a.add(r9, valueGroup)
  a.cmp(rdx, 0)
  a.jg(next)
}

/** Factors that make codes of the queries of a head, and `scoreFactor`: exponents for a unit of their scores. */
export function emitScaleQueries(code: CodesAttention): void {
  const { a, machine, shape, lanes, dot, constants } = code
  const { factors, multipliers } = codesLayout(shape, dot)
  const [most, x, temporary] = machine.registers
  emitMaxima(code, 'query', shape.headSize, multipliers)
  a.vxorps(most, most, most)
  for (const { first } of lanes.pieces(shape.headSize)) {
    a.vmovups(x, at(r8q, multipliers + 4 * first))
    a.vmulps(x, x, at(r8q, factors + 4 * first))
    a.vpmaxsd(most, most, x)
  }
  emitReduce(a, most, temporary, (...registers) => a.vpmaxsd(...registers))
  const [factor, least, inverse] = [most, x, temporary].map((register) => as('xmm', register))
  a.vdivss(factor, factor, constants.float(highestCode.query))
  a.vmovss(least, constants.float(leastScoreFactor))
  a.vmaxss(factor, least, factor)
  a.vmovss(local('scoreFactor'), factor)
  a.vmovss(inverse, constants.float(1))
  a.vdivss(inverse, inverse, factor)
  a.vbroadcastss(temporary, inverse)
  for (const { first } of lanes.pieces(shape.headSize)) {
    a.vmulps(x, temporary, at(r8q, factors + 4 * first))
    a.vmovups(at(r8q, multipliers + 4 * first), x)
  }
}

/** Codes of so many queries from `row` on to scratch memory, unsigned. Overwrites rax, rcx, rdx, rsi, r8, r9. */
export function emitPackQueries(code: CodesAttention, count: number): void {
  const { a, machine, shape, dot, constants } = code
  const { multipliers, queries, row } = codesLayout(shape, dot)
  const order = machine.registers[15]
  a.vmovups(order, constants.packedOrder())
  emitStart(code, 'query')
  a.mov(rax, local('row'))
  a.imul(rax, rcx)
  a.add(rax, rsi)
  a.lea(r9, at(r8q, queries))
  a.mov(rdx, count)
  const next = a.here()
  emitRowCodes(code, shape.headSize, multipliers, order, at(r9), constants.word(queryOffset * 0x01010101))
  a.add(rax, rcx)
  a.add(r9, row)
  a.dec(rdx)
  a.jne(next)
}
