import type { Assembler } from './assembler.js'
import { emitBlockScales, emitBlockStart, emitLoadCodes } from './attention-codes.js'
import {
  type AttentionCode,
  type AttentionShape,
  attentionParameters,
  blockKeys,
  elementBytes,
  local,
  lowestScore,
  rangeLayout,
  scratchLayout,
} from './attention-frame.js'
import type { Piece } from './attention-lanes.js'
import { emitJoin, emitOwnRanges, emitRangeOfKeys } from './attention-ranges.js'
import { emitRotatedQuery } from './attention-rotary.js'
import { emitCap, emitPowerOfTwo, powerConstants, scoreFactor } from './attention-softmax.js'
import { emitBlockKeys } from './attention-tiles.js'
import {
  as,
  at,
  type General,
  Label,
  type Memory,
  r8q,
  r9,
  r10,
  r11,
  r12,
  r13,
  r14,
  r15,
  rax,
  rbx,
  rcx,
  rdx,
  rsi,
  type Vector,
} from './operands.js'
import { emitReduce } from './rows.js'

/** Keys of a tile of scores, and heads that share them. */
const [tileKeys, tileHeads] = [4, 3] as const

/** Values that are added by one head after the other: as many as stay in the first cache. */
const valuesTogether = 8

/** Keys or values ahead that memory is asked for. */
function ahead(shape: AttentionShape): number {
  return shape.cache === 'int8' ? 32 : 16
}

/** Heads of queries that are worked on together. */
interface Chunk {
  readonly first: number
  readonly heads: number
}

/**
 * Emits the attention of one query with all heads over this thread's ranges of the keys: lanes go along the columns of keys and values, which are
 * read once, in the order in which they lie in memory and at its speed. With a cache, what all ranges leave is still to be joined.
 */
export function emitSingleQuery(code: AttentionCode, entry: Label): void {
  const { a, shape } = code
  a.bind(entry)
  emitOwnRanges(code, () => {
    const [nextBlock, done] = [new Label(), new Label()]
    emitPrepare(code)
    emitRangeOfKeys(code)
    a.mov(rax, local('blockStart'))
    a.cmp(rax, local('keyEnd'))
    a.jge(done)
    a.bind(nextBlock)
    emitBlockKeys(a, blockKeys.single)
    emitScores(code)
    emitSoftmax(code)
    emitSums(code)
    a.mov(rax, local('blockStart'))
    a.add(rax, local('blockKeys'))
    a.mov(local('blockStart'), rax)
    a.cmp(rax, local('keyEnd'))
    a.jl(nextBlock)
    a.bind(done)
  })
  if (!shape.cache) emitJoin(code)
  a.ret()
}

/** Heads that share keys in chunks as even as can be. */
function chunksOf({ heads, keyValueHeads }: AttentionCode['shape']): Chunk[] {
  const group = heads / keyValueHeads
  const count = Math.ceil(group / tileHeads)
  return Array.from({ length: count }, (_, i) => {
    const [first, end] = [Math.floor((i * group) / count), Math.floor(((i + 1) * group) / count)]
    return { first, heads: end - first }
  })
}

/** Rotates and scales the query of each head, and sets sums and states. */
function emitPrepare(code: AttentionCode): void {
  const { a, machine, shape, lanes, constants } = code
  const { single } = scratchLayout(shape, machine)
  const { valueRow, states } = rangeLayout(shape, machine)
  const [x, low, zero] = machine.registers
  const next = new Label()
  a.mov(rsi, local('headQuery'))
  if (shape.rotation) emitRotatedQuery(code)
  a.mov(r8q, attentionParameters.at('scratch'))
  a.mov(r10, local('sums'))
  a.lea(r9, at(r10, states))
  a.vmovups(low, constants.float(lowestScore))
  a.vxorps(zero, zero, zero)
  a.mov(rcx, shape.heads)
  a.bind(next)
  for (const { first, count } of lanes.pieces(shape.headSize)) {
    lanes.load(a, x, at(rsi, 4 * first), count)
    a.vmulps(x, x, constants.float(scoreFactor(shape)))
    a.vmovups(at(r8q, 4 * first), x)
  }
  for (const { first } of lanes.pieces(shape.valueSize)) a.vmovups(at(r10, 4 * first), zero)
  a.vmovss(at(r9), as('xmm', low))
  a.vmovss(at(r9, 4), as('xmm', zero))
  a.add(rsi, shape.rotation ? single.queryRow : 4 * shape.headSize)
  a.add(r8q, single.queryRow)
  a.add(r9, 8)
  a.add(r10, valueRow)
  a.dec(rcx)
  a.jne(next)
}

/** Scores of the block's keys, a row for each head. */
function emitScores(code: AttentionCode): void {
  const { a, machine, shape } = code
  const { single } = scratchLayout(shape, machine)
  const group = shape.heads / shape.keyValueHeads
  const keys = [rsi, r8q, r9, r10]
  const [next, nextHead, whole] = [new Label(), new Label(), new Label()]

  emitBlockStart(a, 'key')
  for (let i = 1; i < keys.length; i++) a.lea(keys[i], at(keys[i - 1], 0, rcx))
  a.imul(r11, rcx, ahead(shape))
  a.mov(r12, attentionParameters.at('scratch'))
  a.add(r12, single.scores)
  a.mov(rbx, local('blockKeys'))
  a.bind(next)
  a.cmp(rbx, tileKeys)
  a.jge(whole)
  for (let i = 1; i < keys.length; i++) {
    a.cmp(rbx, i)
    a.cmovle(keys[i], rsi)
  }
  a.bind(whole)
  a.mov(r13, attentionParameters.at('scratch'))
  a.mov(r14, r12)
  a.mov(rdx, shape.keyValueHeads)
  a.align(32)
  a.bind(nextHead)
  for (const chunk of chunksOf(shape)) emitScoreTile(code, chunk, keys)
  for (const address of keys) a.add(address, elementBytes(shape) * shape.headSize)
  a.add(r13, group * single.queryRow)
  a.add(r14, group * single.scoreRow)
  a.dec(rdx)
  a.jne(nextHead)
  const passed = elementBytes(shape) * shape.keyValueHeads * shape.headSize
  for (const address of keys) a.lea(address, at(address, -passed, rcx, tileKeys))
  a.add(r12, 4 * tileKeys)
  a.sub(rbx, tileKeys)
  a.jg(next)
}

/** Scores of four keys with the queries at r13, to r14. */
function emitScoreTile(code: AttentionCode, { first, heads }: Chunk, keys: readonly General[]): void {
  const { a, machine, shape, lanes } = code
  const { single } = scratchLayout(shape, machine)
  const tile = Array.from({ length: tileKeys }, (_, key) => machine.registers.slice(key * heads, (key + 1) * heads))
  const [key, ...queries] = machine.registers.slice(tileKeys * tileHeads)
  for (const row of tile) for (const sum of row) a.vxorps(sum, sum, sum)
  for (const piece of lanes.pieces(shape.headSize)) {
    const place = elementBytes(shape) * piece.first
    if (!first && place % 64 === 0) for (const address of keys) a.prefetcht0(at(address, place, r11))
    for (let head = 0; head < heads; head++) a.vmovups(queries[head], at(r13, (first + head) * single.queryRow + 4 * piece.first))
    for (const [row, address] of keys.entries()) {
      emitLoad(code, key, at(address, place), piece.count)
      for (const [head, sum] of tile[row].entries()) a.vfmadd231ps(sum, key, queries[head])
    }
  }
  for (let head = 0; head < heads; head++) {
    const sums = tile.map((row) => row[head])
    emitFourSums(a, sums, key)
    a.vmovups(at(r14, (first + head) * single.scoreRow), as('xmm', sums[0]))
  }
}

/** Reads columns of a key or value; those of codes are to be multiplied with their scale. */
function emitLoad({ a, lanes, shape }: AttentionCode, register: Vector, place: Memory, count: number): void {
  if (shape.cache === 'int8') emitLoadCodes(a, register, place)
  else lanes.load(a, register, place, count)
}

/** The sums over the lanes of four vectors, side by side in the first. */
function emitFourSums(a: Assembler, vectors: readonly Vector[], temporary: Vector): void {
  const half = as('ymm', temporary)
  if (temporary.kind === 'zmm') {
    for (const vector of vectors) {
      a.vextracti64x4(half, as('zmm', vector), 1)
      a.vaddps(as('ymm', vector), as('ymm', vector), half)
    }
  }
  const [first, second, third, fourth] = vectors.map((vector) => as('ymm', vector))
  a.vhaddps(first, first, second)
  a.vhaddps(third, third, fourth)
  a.vhaddps(first, first, third)
  a.vextractf128(as('xmm', half), first, 1)
  a.vaddps(as('xmm', first), as('xmm', first), as('xmm', half))
}

/** Makes the block's scores powers of two below the maxima, head by head, and brings sums to the new maxima. */
function emitSoftmax(code: AttentionCode): void {
  const { a, machine, shape, lanes, constants } = code
  const { single } = scratchLayout(shape, machine)
  const range = rangeLayout(shape, machine)
  const [x, temporary, another, maximum, sum, masked] = machine.registers
  const [states, sums, row, keyScales, valueScales] = [r14, r13, r12, r10, r11]
  const power = powerConstants(constants)
  const isCodes = shape.cache === 'int8'
  const [nextKeys, next] = [new Label(), new Label()]
  const overScores = (body: () => void) => {
    const nextVector = new Label()
    a.xor(rsi, rsi)
    a.mov(rax, local('blockKeys'))
    a.bind(nextVector)
    body()
    a.add(rsi, machine.bytes)
    a.sub(rax, machine.lanes)
    a.jg(nextVector)
  }

  emitPrefetchValues(code)
  a.mov(row, attentionParameters.at('scratch'))
  a.add(row, single.scores)
  a.mov(sums, local('sums'))
  a.lea(states, at(sums, range.states))
  if (isCodes) {
    emitBlockScales(a, 'key', keyScales)
    emitBlockScales(a, 'value', valueScales)
  }
  a.vmovups(masked, constants.float(Number.NEGATIVE_INFINITY))
  a.mov(rdx, shape.keyValueHeads)
  a.bind(nextKeys)
  a.mov(rbx, shape.heads / shape.keyValueHeads)
  a.bind(next)
  if (isCodes || shape.softCap !== undefined) {
    overScores(() => {
      a.vmovups(x, at(row, 0, rsi))
      if (isCodes) a.vmulps(x, x, at(keyScales, 0, rsi))
      emitCap(code, x, [temporary, another])
      a.vmovups(at(row, 0, rsi), x)
    })
  }
  a.mov(rax, local('blockKeys'))
  a.vmovups(at(row, 0, rax, 4), masked)
  a.vbroadcastss(maximum, at(states))
  overScores(() => a.vmaxps(maximum, maximum, at(row, 0, rsi)))
  emitReduce(a, maximum, temporary, (...registers) => a.vmaxps(...registers))
  a.vbroadcastss(maximum, as('xmm', maximum))
  a.vxorps(sum, sum, sum)
  overScores(() => {
    a.vmovups(x, at(row, 0, rsi))
    a.vsubps(x, x, maximum)
    emitPowerOfTwo(a, x, [temporary, another], power)
    a.vaddps(sum, sum, x)
    if (isCodes) a.vmulps(x, x, at(valueScales, 0, rsi))
    a.vmovups(at(row, 0, rsi), x)
  })
  emitReduce(a, sum, temporary, (...registers) => a.vaddps(...registers))
  a.vbroadcastss(x, at(states))
  a.vsubps(x, x, maximum)
  emitPowerOfTwo(a, x, [temporary, another], power)
  a.vmovss(at(states), as('xmm', maximum))
  a.vmovss(as('xmm', another), at(states, 4))
  a.vfmadd231ss(as('xmm', sum), as('xmm', x), as('xmm', another))
  a.vmovss(at(states, 4), as('xmm', sum))
  for (const { first } of lanes.pieces(shape.valueSize)) {
    a.vmulps(temporary, x, at(sums, 4 * first))
    a.vmovups(at(sums, 4 * first), temporary)
  }
  a.add(row, single.scoreRow)
  a.add(states, 8)
  a.add(sums, range.valueRow)
  a.dec(rbx)
  a.jne(next)
  if (isCodes) {
    a.add(keyScales, local('scaleStride'))
    a.add(valueScales, local('scaleStride'))
  }
  a.dec(rdx)
  a.jne(nextKeys)
}

/** Asks for the block's first values. */
function emitPrefetchValues({ a, shape }: AttentionCode): void {
  emitBlockStart(a, 'value')
  const bytes = Math.min(4096, elementBytes(shape) * ahead(shape) * shape.keyValueHeads * shape.valueSize)
  for (let line = 0; line < bytes; line += 64) a.prefetcht0(at(rsi, line))
}

/** Adds the block's values, weighted, to the sums of all heads. */
function emitSums(code: AttentionCode): void {
  const { a, machine, shape } = code
  const { single } = scratchLayout(shape, machine)
  const { valueRow } = rangeLayout(shape, machine)
  const group = shape.heads / shape.keyValueHeads
  const [next, nextHead] = [new Label(), new Label()]

  emitBlockStart(a, 'value')
  a.imul(r11, rcx, ahead(shape))
  a.mov(r12, attentionParameters.at('scratch'))
  a.add(r12, single.scores)
  a.mov(rbx, local('blockKeys'))
  a.bind(next)
  a.mov(r10, valuesTogether)
  a.cmp(rbx, r10)
  a.cmovl(r10, rbx)
  a.mov(r13, local('sums'))
  a.mov(r14, r12)
  a.mov(rdx, shape.keyValueHeads)
  a.bind(nextHead)
  for (const chunk of chunksOf(shape))
    for (const [i, columns] of passesOf(code, chunk).entries()) emitPass(code, chunk, columns, !i && !chunk.first)
  a.add(rsi, elementBytes(shape) * shape.valueSize)
  a.add(r13, group * valueRow)
  a.add(r14, group * single.scoreRow)
  a.dec(rdx)
  a.jne(nextHead)
  a.lea(rsi, at(rsi, -elementBytes(shape) * shape.keyValueHeads * shape.valueSize, rcx, valuesTogether))
  a.add(r12, 4 * valuesTogether)
  a.sub(rbx, valuesTogether)
  a.jg(next)
}

/** Columns of values that have room in the registers, by passes as even as can be. */
function passesOf({ lanes, shape }: AttentionCode, { heads }: Chunk): Piece[][] {
  const all = lanes.pieces(shape.valueSize)
  const count = Math.ceil(all.length / Math.floor((tileKeys * tileHeads) / heads))
  return Array.from({ length: count }, (_, i) =>
    all.slice(Math.floor((i * all.length) / count), Math.floor(((i + 1) * all.length) / count)),
  )
}

/** Adds r10 values at rsi, weighted by the rows at r14, to the sums at r13. */
function emitPass(code: AttentionCode, { first, heads }: Chunk, columns: readonly Piece[], prefetches: boolean): void {
  const { a, machine, shape } = code
  const { single } = scratchLayout(shape, machine)
  const { valueRow } = rangeLayout(shape, machine)
  const tile = Array.from({ length: heads }, (_, head) => machine.registers.slice(head * columns.length, (head + 1) * columns.length))
  const [value, ...weights] = machine.registers.slice(tileKeys * tileHeads)
  const places = tile.flatMap((sums, head) =>
    sums.map((sum, v) => ({ sum, place: at(r13, (first + head) * valueRow + 4 * columns[v].first) })),
  )
  const next = new Label()
  for (const { sum, place } of places) a.vmovups(sum, place)
  a.mov(r15, rsi)
  a.mov(r8q, r14)
  a.mov(rax, r10)
  a.align(32)
  a.bind(next)
  for (let line = 0; prefetches && line < elementBytes(shape) * shape.valueSize; line += 64) a.prefetcht0(at(r15, line, r11))
  for (let head = 0; head < heads; head++) a.vbroadcastss(weights[head], at(r8q, (first + head) * single.scoreRow))
  for (const [v, column] of columns.entries()) {
    emitLoad(code, value, at(r15, elementBytes(shape) * column.first), column.count)
    for (const [head, sums] of tile.entries()) a.vfmadd231ps(sums[v], value, weights[head])
  }
  a.add(r15, rcx)
  a.add(r8q, 4)
  a.dec(rax)
  a.jne(next)
  for (const { sum, place } of places) a.vmovups(place, sum)
}
