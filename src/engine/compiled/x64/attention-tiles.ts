import type { Assembler } from './assembler.js'
import { emitBlockFloats } from './attention-codes.js'
import {
  type AttentionCode,
  across,
  attentionParameters,
  blockKeys,
  local,
  localVector,
  lowestScore,
  move,
  scratchLayout,
} from './attention-frame.js'
import { emitRotatedQueries } from './attention-rotary.js'
import { emitFinishScores, emitSoftmax, scoreFactor } from './attention-softmax.js'
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
  ymm,
} from './operands.js'
import { emitDispatch } from './tile-loops.js'

/** Rows of a tile: 6 with 16 registers, 14 with 32 would leave none for operands. */
function tileRows({ machine: { registers } }: AttentionCode): number {
  return registers.length === 16 ? 6 : 12
}

/** Columns of queries and keys that one turn of the inner loop takes. */
const unrolledColumns = 4

/** From a query's factor for the block to that for the blocks before. */
const carriedDistance = localVector('carried').displacement - localVector('inverse').displacement

/** Parts of the code that are called; each is emitted once. */
interface Parts {
  /** Products of 1, 2, ... keys with all queries. */
  readonly scores: readonly Label[]
  readonly finish: Label
  /** Sums of so many columns of values, weighted by 1, 2, ... queries. */
  readonly sums: ReadonlyMap<number, readonly Label[]>
}

/**
 * Emits the attention of `count` queries of one head, from `headQuery` + `row` on, in as many vectors: scores are [keys][queries], so that
 * maxima and sums go along lanes, and neither keys nor values need be rearranged. Keys are taken in blocks; the output holds the
 * average over the blocks so far.
 */
export function emitQueries(code: AttentionCode, entry: Label, vectors: number): void {
  const { a, machine, shape } = code
  const scratch = attentionParameters.at('scratch')
  const { scores } = scratchLayout(shape, machine).many
  const labels = () => Array.from({ length: tileRows(code) }, () => new Label())
  const columns = columnsOf(code)
  const parts: Parts = {
    scores: labels(),
    finish: new Label(),
    sums: new Map(columns.map(({ count }) => [count, labels()])),
  }
  const nextBlock = new Label()

  a.bind(entry)
  emitPackQueries(code, vectors)
  emitVisibleKeys(code, vectors)
  for (let v = 0; v < vectors; v++) {
    const [zero, low] = machine.registers
    a.vxorps(zero, zero, zero)
    a.vmovups(low, code.constants.float(lowestScore))
    a.vmovups(localVector('maximum', v * machine.bytes), low)
    a.vmovups(localVector('previous', v * machine.bytes), low)
    a.vmovups(localVector('sum', v * machine.bytes), zero)
  }
  a.xor(rax, rax)
  a.mov(local('laterBlock'), rax)

  a.bind(nextBlock)
  emitBlockKeys(a, blockKeys.many)
  emitBlockFloats(code, 'key')
  a.mov(r12, rsi)
  a.mov(r13, local('blockStart'))
  a.mov(r14, scratch)
  a.add(r14, scores)
  emitEvenTiles(a, local('blockKeys'), parts.scores)
  a.mov(rsi, scratch)
  a.add(rsi, scores)
  emitSoftmax(code, vectors)
  emitBlockFloats(code, 'value')
  a.mov(r12, rsi)
  for (const { first, count } of columns) {
    a.mov(r11, attentionParameters.at('outputStride'))
    a.mov(r10, local('row'))
    a.imul(r10, r11)
    a.add(r10, local('headOutput'))
    a.add(r10, 4 * first)
    a.mov(r14, scratch)
    a.add(r14, scores)
    a.lea(r13, localVector('inverse'))
    emitEvenTiles(a, local('count'), parts.sums.get(count)!)
    a.add(r12, 4 * count)
  }
  a.mov(rax, local('blockStart'))
  a.add(rax, local('blockKeys'))
  a.mov(local('blockStart'), rax)
  a.mov(local('laterBlock'), rax)
  a.cmp(rax, local('keyEnd'))
  a.jl(nextBlock)
  a.ret()

  for (const [i, label] of parts.scores.entries()) emitScores(code, label, vectors, i + 1, parts.finish)
  a.bind(parts.finish)
  emitFinishScores(code, vectors)
  a.ret()
  for (const [count, sums] of parts.sums) for (const [i, label] of sums.entries()) emitSums(code, label, vectors, i + 1, count)
}

/** Columns of values that are summed up together. */
function columnsOf({ machine, shape: { valueSize } }: AttentionCode): { first: number; count: number }[] {
  const width = across * machine.lanes
  return Array.from({ length: Math.ceil(valueSize / width) }, (_, i) => ({
    first: i * width,
    count: Math.min(width, valueSize - i * width),
  }))
}

/** Transposes the queries to [columns][queries] and multiplies them with the scale; lanes beyond the last query repeat it. */
function emitPackQueries(code: AttentionCode, vectors: number): void {
  const { a, machine, shape, constants } = code
  const stride = vectors * machine.bytes
  const [query, distance, left] = [rcx, rbx, rdx]
  const rows: readonly General[] = [rsi, r8q, r9, r10, r11, r12, r13, r14]
  a.mov(distance, attentionParameters.at('queryStride'))
  a.mov(query, local('row'))
  a.imul(query, distance)
  a.add(query, local('headQuery'))
  if (shape.rotation) emitRotatedQueries(code, query, distance)
  a.mov(left, local('count'))
  const factor = constants.float(scoreFactor(shape))
  for (let group = 0; group < (vectors * machine.lanes) / 8; group++) {
    for (const row of rows) {
      a.mov(row, query)
      a.lea(rax, at(query, 0, distance))
      a.dec(left)
      a.cmp(left, 0)
      a.cmovg(query, rax)
    }
    a.mov(r15, attentionParameters.at('scratch'))
    a.add(r15, 32 * group)
    for (let column = 0; column < shape.headSize; column += 8) {
      const count = Math.min(8, shape.headSize - column)
      const columns = emitTranspose(
        code,
        rows.map((row) => at(row, 4 * column)),
        count,
      )
      for (const [i, register] of columns.slice(0, count).entries()) {
        a.vmulps(register, register, factor)
        a.vmovups(at(r15, (column + i) * stride), register)
      }
    }
  }
}

/** Reads 8 rows of up to 8 columns, and gives the columns. */
function emitTranspose({ a, lanes }: AttentionCode, rows: readonly Memory[], count: number): Vector[] {
  const [first, second] = [ymm.slice(0, 8), ymm.slice(8, 16)]
  for (const [i, row] of rows.entries()) lanes.loadHalf(a, first[i], row, count)
  for (let i = 0; i < 8; i += 2) {
    a.vunpcklps(second[i], first[i], first[i + 1])
    a.vunpckhps(second[i + 1], first[i], first[i + 1])
  }
  for (const i of [0, 4]) {
    for (const half of [0, 1]) {
      a.vshufps(first[i + 2 * half], second[i + half], second[i + 2 + half], 0x44)
      a.vshufps(first[i + 2 * half + 1], second[i + half], second[i + 2 + half], 0xee)
    }
  }
  for (let i = 0; i < 4; i++) {
    a.vperm2f128(second[i], first[i], first[i + 4], 0x20)
    a.vperm2f128(second[i + 4], first[i], first[i + 4], 0x31)
  }
  return second
}

/** Sets the first block's start, `keyEnd`, and what masks need. */
function emitVisibleKeys({ a, machine, shape, constants }: AttentionCode, vectors: number): void {
  const { causal, window } = shape
  const [place, start] = [rdx, rsi]
  a.xor(start, start)
  if (!causal) {
    a.mov(local('blockStart'), start)
    move(a, local('keyEnd'), local('total'))
    return
  }
  a.mov(place, local('past'))
  a.add(place, local('row'))
  a.lea(rax, at(place, 1))
  a.mov(local('seenUntil'), rax)
  a.mov(rax, local('count'))
  a.add(rax, place)
  a.mov(local('keyEnd'), rax)
  const [first, places] = machine.registers
  a.vmovd(as('xmm', first), as('r32', place))
  a.vpbroadcastd(first, as('xmm', first))
  for (let v = 0; v < vectors; v++) {
    a.vpaddd(
      places,
      first,
      constants.words((lane) => v * machine.lanes + lane),
    )
    a.vmovups(localVector('places', v * machine.bytes), places)
    if (!window) continue
    a.vpsubd(places, places, constants.word(window - 1))
    a.vmovups(localVector('lowest', v * machine.bytes), places)
  }
  if (window) {
    a.sub(rax, window)
    a.mov(local('seenFrom'), rax)
    a.sub(place, window - 1)
    a.cmp(place, 0)
    a.cmovg(start, place)
  }
  a.mov(local('blockStart'), start)
}

/** Sets `blockKeys`: from `blockStart` on, not beyond `keyEnd`. */
export function emitBlockKeys(a: Assembler, most: number): void {
  a.mov(rax, local('keyEnd'))
  a.sub(rax, local('blockStart'))
  a.mov(rdx, most)
  a.cmp(rax, rdx)
  a.cmovg(rax, rdx)
  a.mov(local('blockKeys'), rax)
}

/** Calls tiles of even heights, in rbx, until they are `total` together. Overwrites rax, rdx, r15. */
export function emitEvenTiles(a: Assembler, total: Memory, tiles: readonly Label[]): void {
  const next = new Label()
  const done = r15
  a.mov(rax, total)
  a.add(rax, tiles.length - 1)
  a.xor(rdx, rdx)
  a.mov(rbx, tiles.length)
  a.div(rbx)
  a.mov(local('tiles'), rax)
  a.mov(rbx, rax)
  a.mov(rax, total)
  a.xor(rdx, rdx)
  a.div(rbx)
  a.mov(local('height'), rax)
  a.mov(local('longer'), rdx)
  a.xor(done, done)
  a.bind(next)
  a.mov(rbx, local('height'))
  a.lea(rax, at(rbx, 1))
  a.cmp(done, local('longer'))
  a.cmovl(rbx, rax)
  emitDispatch(a, tiles)
  a.inc(done)
  a.cmp(done, local('tiles'))
  a.jl(next)
}

/** Scores of some keys at r12, from key r13 on, with all queries, to r14; moves all three on. rcx is the distance of keys. */
function emitScores(code: AttentionCode, label: Label, vectors: number, height: number, finish: Label): void {
  const { a, machine, shape } = code
  const { registers, bytes } = machine
  const stride = vectors * bytes
  const tile = Array.from({ length: height }, (_, row) => registers.slice(row * vectors, (row + 1) * vectors))
  const [key, ...queries] = registers.slice(tileRows(code) * across)
  const bases = [rsi, rdx, r8q, r9].slice(0, Math.ceil(height / 3))
  const keyAt = (row: number, column: number) => {
    const [base, index] = [bases[Math.floor(row / 3)], row % 3]
    return index ? at(base, 4 * column, rcx, index as 1 | 2) : at(base, 4 * column)
  }
  const product = (column: number) => {
    for (let v = 0; v < vectors; v++) a.vmovups(queries[v], at(r10, column * stride + v * bytes))
    for (const [row, sums] of tile.entries()) {
      a.vbroadcastss(key, keyAt(row, column))
      for (const [v, sum] of sums.entries()) a.vfmadd231ps(sum, key, queries[v])
    }
  }

  a.align(32)
  a.bind(label)
  for (const row of tile) for (const sum of row) a.vxorps(sum, sum, sum)
  a.mov(r10, attentionParameters.at('scratch'))
  a.mov(rsi, r12)
  if (bases.length > 1) a.lea(rax, at(rcx, 0, rcx, 2))
  for (let i = 1; i < bases.length; i++) a.lea(bases[i], at(bases[i - 1], 0, rax))
  const turns = Math.floor(shape.headSize / unrolledColumns)
  if (turns) {
    const next = new Label()
    a.mov(rax, turns)
    a.bind(next)
    for (let column = 0; column < unrolledColumns; column++) product(column)
    for (const base of bases) a.add(base, 4 * unrolledColumns)
    a.add(r10, unrolledColumns * stride)
    a.dec(rax)
    a.jne(next)
  }
  for (let column = 0; column < shape.headSize % unrolledColumns; column++) product(column)
  for (const [row, sums] of tile.entries()) for (const [v, sum] of sums.entries()) a.vmovups(at(r14, row * stride + v * bytes), sum)
  emitMaxima(code, tile, key, finish)
  a.imul(rax, rcx, height)
  a.add(r12, rax)
  a.add(r13, height)
  a.add(r14, height * stride)
  a.ret()
}

/** Keeps the largest scores of a tile; those that need a cap or a mask are finished first. */
function emitMaxima({ a, machine, shape }: AttentionCode, tile: readonly (readonly Vector[])[], free: Vector, finish: Label): void {
  const [unfinished, done] = [new Label(), new Label()]
  if (shape.causal && shape.softCap === undefined) {
    a.lea(rax, at(r13, tile.length))
    a.cmp(rax, local('seenUntil'))
    a.jg(unfinished)
    if (shape.window) {
      a.cmp(r13, local('seenFrom'))
      a.jl(unfinished)
    }
  }
  if (shape.softCap === undefined) {
    for (const v of tile[0].keys()) {
      const place = localVector('maximum', v * machine.bytes)
      a.vmovups(free, place)
      for (const row of tile) a.vmaxps(free, free, row[v])
      a.vmovups(place, free)
    }
    if (shape.causal) a.jmp(done)
  }
  if (shape.causal || shape.softCap !== undefined) {
    a.bind(unfinished)
    a.mov(rbx, tile.length)
    a.call(finish)
  }
  a.bind(done)
}

/**
 * Sums of `blockKeys` values at r12, rcx apart, weighted for some queries by the columns at r14, into rows at r10, r11 apart; factors of the
 * queries are at r13. Moves r10, r13 and r14 on.
 */
function emitSums(code: AttentionCode, label: Label, vectors: number, height: number, columns: number): void {
  const { a, machine, lanes } = code
  const { registers, bytes } = machine
  const width = Math.ceil(columns / machine.lanes)
  const stride = vectors * bytes
  const tile = Array.from({ length: height }, (_, row) => registers.slice(row * width, (row + 1) * width))
  const [weight, temporary, ...values] = registers.slice(tileRows(code) * across)
  const countOf = (v: number) => Math.min(machine.lanes, columns - v * machine.lanes)
  const keyAt = [at(rsi), at(rsi, 0, rcx)]
  const product = (key: number) => {
    for (let v = 0; v < width; v++) lanes.load(a, values[v], keyAt[key].plus(v * bytes), countOf(v))
    for (const [row, sums] of tile.entries()) {
      a.vbroadcastss(weight, at(r8q, key * stride + 4 * row))
      for (const [v, sum] of sums.entries()) a.vfmadd231ps(sum, weight, values[v])
    }
  }
  const [many, few, one, finish] = [new Label(), new Label(), new Label(), new Label()]

  a.align(32)
  a.bind(label)
  for (const row of tile) for (const sum of row) a.vxorps(sum, sum, sum)
  a.mov(rsi, r12)
  a.mov(r8q, r14)
  a.mov(rax, local('blockKeys'))
  a.sub(rax, keyAt.length)
  a.jl(few)
  a.align(32)
  a.bind(many)
  for (const key of keyAt.keys()) product(key)
  a.lea(rsi, at(rsi, 0, rcx, 2))
  a.add(r8q, keyAt.length * stride)
  a.sub(rax, keyAt.length)
  a.jge(many)
  a.bind(few)
  a.add(rax, keyAt.length)
  a.je(finish)
  a.bind(one)
  product(0)
  a.add(rsi, rcx)
  a.add(r8q, stride)
  a.dec(rax)
  a.jne(one)
  a.bind(finish)
  a.mov(rax, local('laterBlock'))
  for (const [row, sums] of tile.entries()) {
    a.vbroadcastss(weight, at(r13, 4 * row))
    for (const sum of sums) a.vmulps(sum, sum, weight)
  }
  const first = new Label()
  a.test(rax, rax)
  a.je(first)
  a.mov(rsi, r10)
  for (const [row, sums] of tile.entries()) {
    a.vbroadcastss(weight, at(r13, carriedDistance + 4 * row))
    for (const [v, sum] of sums.entries()) {
      lanes.load(a, temporary, at(rsi, v * bytes), countOf(v))
      a.vfmadd231ps(sum, weight, temporary)
    }
    a.add(rsi, r11)
  }
  a.bind(first)
  for (const sums of tile) {
    for (const [v, sum] of sums.entries()) lanes.store(a, at(r10, v * bytes), sum, countOf(v), temporary)
    a.add(r10, r11)
  }
  a.add(r13, 4 * height)
  a.add(r14, 4 * height)
  a.ret()
}
