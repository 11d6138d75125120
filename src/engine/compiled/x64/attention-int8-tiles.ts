import { highestCode, powerCoefficients, squarings, thresholds } from '../reference/attention-int8.js'
import { add, attentionParameters, local, localVector } from './attention-frame.js'
import { emitPackQueries, hidden } from './attention-int8-codes.js'
import { type CodesAttention, codesLayout, emitGroups } from './attention-int8-frame.js'
import { as, at, Label, r8q, r9, r10, r11, r12, r13, r14, rax, rbx, rcx, rdx, rsi, type Vector } from './operands.js'
import { emitReduce } from './rows.js'
import { emitRowAdvance, emitRowPointers, emitTurns, rowOf } from './tile-loops.js'
import { emitInOrder } from './vector-machine.js'

/** Emits the attention of `height` queries of a head from `row` on; moves `row` on. Overwrites all but rdi, rbp and r15. */
export function emitTile(code: CodesAttention, label: Label, height: number, softmax: Label): void {
  const { a } = code
  a.align(32)
  a.bind(label)
  emitPackQueries(code, height)
  emitVisible(code, height)
  emitScores(code, height)
  emitWeights(code, height, softmax)
  emitSums(code, height)
  add(a, 'row', height)
  a.ret()
}

/** Sets `keyEnd`, and which vectors of keys the tile's queries see. */
function emitVisible({ a, machine, shape: { causal, window } }: CodesAttention, height: number): void {
  const bits = Math.log2(machine.lanes)
  const [first, last] = [rcx, rax]
  a.mov(last, local(causal ? 'row' : 'rows'))
  a.xor(first, first)
  if (causal && window) {
    a.mov(rdx, last)
    a.sub(rdx, window - 1)
    a.cmp(rdx, first)
    a.cmovg(first, rdx)
    a.shr(first, bits)
  }
  if (causal) a.add(last, height)
  a.mov(local('keyEnd'), last)
  a.add(last, machine.lanes - 1)
  a.shr(last, bits)
  a.sub(last, first)
  a.mov(local('firstVector'), first)
  a.mov(local('vectors'), last)
}

/** Scores of the tile's queries, a row for each. */
function emitScores(code: CodesAttention, height: number): void {
  const { a, machine, shape, dot } = code
  const { keyVector, queries } = codesLayout(shape, dot)
  const place = local('firstVector')
  a.imul(r9, place, keyVector)
  a.add(r9, local('keyCodes'))
  a.imul(r14, place, machine.bytes)
  a.mov(r12, r14)
  a.add(r14, local('keyStarts'))
  a.add(r12, local('scores'))
  a.mov(rcx, local('scoreStride'))
  emitRowPointers(a, height)
  a.mov(r8q, attentionParameters.at('scratch'))
  a.add(r8q, queries)
  a.mov(rbx, local('vectors'))
  dot.prepare(a, freeOf(code))
  for (let width = dot.across; width > 0; width--) {
    const [again, fewer] = [a.here(), new Label()]
    a.cmp(rbx, width)
    a.jl(fewer)
    emitProducts(code, height, width)
    a.sub(rbx, width)
    if (width === dot.across) a.jmp(again)
    a.bind(fewer)
  }
}

function freeOf({ machine, dot }: CodesAttention): readonly Vector[] {
  return machine.registers.slice(dot.rows * dot.across)
}

function tileOf({ machine }: CodesAttention, height: number, width: number): Vector[][] {
  return Array.from({ length: height }, (_, row) => machine.registers.slice(row * width, (row + 1) * width))
}

/** Products with so many vectors of keys at r9, whose sums begin with those at r14; moves on. */
function emitProducts(code: CodesAttention, height: number, width: number): void {
  const { a, machine, shape, dot } = code
  const { bytes } = machine
  const { groups, keyVector, row } = codesLayout(shape, dot)
  const sums = tileOf(code, height, width)
  for (const tileRow of sums) for (const [v, sum] of tileRow.entries()) a.vmovups(sum, at(r14, v * bytes))
  a.mov(r10, r8q)
  a.mov(r11, r9)
  emitGroups(
    a,
    groups,
    rax,
    (group) =>
      dot.step(a, {
        sums,
        free: freeOf(code),
        activations: (query) => at(r10, query * row + 4 * group),
        weights: (_, v) => at(r11, v * keyVector + group * bytes),
      }),
    (count) => {
      a.add(r10, 4 * count)
      a.add(r11, count * bytes)
    },
  )
  for (const [query, tileRow] of sums.entries()) for (const [v, sum] of tileRow.entries()) a.vmovups(rowOf(query).plus(v * bytes), sum)
  emitRowAdvance(a, height, width * bytes)
  a.add(r9, width * keyVector)
  a.add(r14, width * bytes)
}

/** Weights of the tile's queries, a row of bytes for each, and 1 / their sums. */
function emitWeights(code: CodesAttention, height: number, softmax: Label): void {
  const { a, machine, constants } = code
  const [sums, inverses] = machine.registers
  const next = new Label()
  a.mov(r12, local('scores'))
  a.mov(r13, local('weights'))
  a.mov(r14, local('firstVector'))
  a.lea(r11, localVector('inverse'))
  a.mov(r10, local('row'))
  a.mov(rdx, height)
  a.bind(next)
  emitHide(code)
  a.imul(rsi, r14, machine.bytes)
  a.add(rsi, r12)
  a.imul(r9, r14, machine.lanes)
  a.add(r9, r13)
  a.call(softmax)
  a.add(r12, local('scoreStride'))
  a.add(r13, local('weightStride'))
  a.add(r11, 4)
  a.inc(r10)
  a.dec(rdx)
  a.jne(next)
  // One vector has room for all rows.
  a.vcvtdq2ps(sums, localVector('inverse'))
  a.vmovups(inverses, constants.float(1))
  a.vdivps(inverses, inverses, sums)
  a.vmovups(localVector('inverse'), inverses)
}

/** Hides the keys behind the query at r10, and those before its window, among those that others of the tile see. */
function emitHide({ a, machine, shape: { causal, window }, constants, dot }: CodesAttention): void {
  if (!causal) return
  const { lanes, bytes, registers } = machine
  const vectors = Math.ceil((lanes + dot.rows - 2) / lanes)
  const [low] = registers
  a.vmovups(low, constants.word(hidden))
  for (let v = 0; v < vectors; v++) a.vmovups(at(r12, 4 + v * bytes, r10, 4), low)
  if (!window) return
  const seen = new Label()
  a.mov(rax, r10)
  a.sub(rax, window - 1)
  a.cmp(rax, 0)
  a.jle(seen)
  for (let v = 1; v <= vectors; v++) a.vmovups(at(r12, -v * bytes, rax, 4), low)
  a.bind(seen)
}

/** Emits what makes weights at r9 of `vectors` of scores at rsi, and writes their sum to r11. Overwrites rax, rsi, r8, r9. */
export function emitSoftmax(code: CodesAttention, label: Label): void {
  const { a, machine } = code
  const { bytes, registers } = machine
  const [max, factor, shift, sum, zero, order, ...values] = registers
  const four = values.slice(0, 4)
  a.align(32)
  a.bind(label)
  a.mov(r8q, rsi)
  for (const register of [max, ...four.slice(1)]) a.vmovups(register, code.constants.word(hidden))
  const maxima = [max, ...four.slice(1)]
  emitVectors(code, (count) => {
    for (let v = 0; v < count; v++) a.vpmaxsd(maxima[v], maxima[v], at(rsi, v * bytes))
    a.add(rsi, count * bytes)
  })
  for (const other of maxima.slice(1)) a.vpmaxsd(max, max, other)
  emitReduce(a, max, zero, (...some) => a.vpmaxsd(...some))
  a.vcvtdq2ps(as('xmm', max), as('xmm', max))
  a.vmulss(as('xmm', max), as('xmm', max), local('scoreFactor'))
  a.vsubss(as('xmm', max), as('xmm', max), code.constants.float(2 ** 15 - 1))
  a.vbroadcastss(shift, as('xmm', max))
  a.vbroadcastss(factor, local('scoreFactor'))
  a.vxorps(sum, sum, sum)
  a.vxorps(zero, zero, zero)
  a.vmovups(order, code.constants.packedOrder())
  a.mov(rsi, r8q)
  emitVectors(code, (count) => {
    const exponents = four.slice(0, count)
    for (const [v, x] of exponents.entries()) {
      a.vcvtdq2ps(x, at(rsi, v * bytes))
      a.vmulps(x, x, factor)
      a.vsubps(x, x, shift)
      a.vcvtps2dq(x, x)
    }
    const [first, second = first, third, fourth] = exponents
    a.vpackssdw(first, first, second)
    if (third) a.vpackssdw(third, third, fourth)
    emitPowers(code, third ? [first, third] : [first], [fourth ?? four[1], max])
    a.vpackuswb(first, first, third ?? first)
    emitInOrder(a, first, order)
    emitStoreWeights(code, first, count, sum, zero, four[1])
    a.add(rsi, count * bytes)
    a.add(r9, count * machine.lanes)
  })
  emitReduce(a, sum, zero, (...some) => a.vpaddd(...some))
  a.vmovd(at(r11), as('xmm', sum))
  a.ret()
}

/** Emits work on `vectors` vectors: four at a time, then two, then one. Counts in rax. */
function emitVectors({ a }: CodesAttention, work: (count: number) => void): void {
  a.mov(rax, local('vectors'))
  for (const count of [4, 2, 1]) {
    const fewer = new Label()
    if (count === 4) a.align(32)
    const again = a.here()
    a.cmp(rax, count)
    a.jl(fewer)
    work(count)
    a.sub(rax, count)
    if (count === 4) a.jmp(again)
    a.bind(fewer)
  }
}

/** Makes words that are exponents weights. */
function emitPowers({ a, constants }: CodesAttention, exponents: readonly Vector[], temporaries: readonly Vector[]): void {
  const words = (value: number) => constants.word((value & 0xffff) * 0x10001)
  const each = exponents.map((x, i) => ({ x, power: temporaries[i] }))
  const highest = powerCoefficients.length - 1
  for (const { x, power } of each) a.vpmulhrsw(power, x, words(powerCoefficients[highest]))
  for (let i = highest - 1; i >= 0; i--) {
    for (const { power } of each) a.vpaddw(power, power, words(powerCoefficients[i]))
    if (i) for (const { x, power } of each) a.vpmulhrsw(power, power, x)
  }
  for (let i = 0; i < squarings; i++) for (const { power } of each) a.vpmulhrsw(power, power, power)
  // A piece of 128 bits begins with keys of the same place modulo 8 in all vectors.
  const threshold = constants.words((lane) => {
    const [low, high] = [0, 1].map((word) => thresholds[(4 * Math.floor(lane / 4) + 2 * (lane % 2) + word) % thresholds.length])
    return (low & 0xffff) | (high << 16)
  })
  for (const { power } of each) a.vpaddsw(power, power, threshold)
  for (const { x, power } of each) a.vpmulhrsw(x, power, words(highestCode.weight))
}

/** Stores the weights of so many vectors and adds them up. */
function emitStoreWeights(
  { a, machine: { lanes } }: CodesAttention,
  weights: Vector,
  count: number,
  sum: Vector,
  zero: Vector,
  free: Vector,
): void {
  const bytes = count * lanes
  const [few, some, none] = [weights, free, zero].map((register) => as(bytes === 64 ? 'zmm' : bytes === 32 ? 'ymm' : 'xmm', register))
  if (bytes === 8) {
    a.vmovq(at(r9), as('xmm', few))
    a.vmovq(as('xmm', few), at(r9))
  } else a.vmovups(at(r9), few)
  a.vpsadbw(some, few, none)
  a.vpaddd(sum, sum, free)
}

/** Sums of values by weights, to the output. */
function emitSums(code: CodesAttention, height: number): void {
  const { machine, dot, lanes, shape } = code
  const pieces = lanes.pieces(shape.valueSize)
  for (let first = 0; first < pieces.length; first += dot.across) {
    emitSumsOf(code, height, first * machine.bytes, pieces.slice(first, first + dot.across))
  }
}

function emitSumsOf(
  code: CodesAttention,
  height: number,
  from: number,
  pieces: readonly { readonly first: number; readonly count: number }[],
): void {
  const { a, machine, shape, dot, lanes } = code
  const { bytes } = machine
  const { valueGroup, valueScale } = codesLayout(shape, dot)
  const sums = tileOf(code, height, pieces.length)
  const [weight, temporary] = freeOf(code)
  dot.prepare(a, freeOf(code))
  for (const row of sums) for (const sum of row) a.vxorps(sum, sum, sum)
  a.imul(rax, local('firstVector'), machine.lanes)
  a.mov(r12, local('weights'))
  a.add(r12, rax)
  a.mov(rcx, local('weightStride'))
  emitRowPointers(a, height)
  a.imul(r13, local('firstVector'), (machine.lanes / 4) * valueGroup)
  a.add(r13, local('valueCodes'))
  if (from) a.add(r13, from)
  a.neg(rax)
  a.add(rax, local('keyEnd'))
  a.add(rax, 3)
  a.shr(rax, 2)
  const turn = (count: number) => {
    for (let group = 0; group < count; group++)
      dot.step(a, {
        sums,
        free: freeOf(code),
        activations: (row) => rowOf(row).plus(4 * group),
        weights: (_, v) => at(r13, group * valueGroup + v * bytes),
      })
    emitRowAdvance(a, height, 4 * count)
    a.add(r13, count * valueGroup)
  }
  emitTurns(a, turn)
  a.mov(r8q, attentionParameters.at('scratch'))
  a.mov(r11, attentionParameters.at('outputStride'))
  a.mov(r10, local('row'))
  a.imul(r10, r11)
  a.add(r10, local('headOutput'))
  for (const [row, tileRow] of sums.entries()) {
    a.vbroadcastss(weight, localVector('inverse', 4 * row))
    for (const [v, sum] of tileRow.entries()) {
      const { first, count } = pieces[v]
      a.vcvtdq2ps(sum, sum)
      a.vmulps(sum, sum, weight)
      a.vmulps(sum, sum, at(r8q, valueScale + 4 * first))
      lanes.store(a, at(r10, 4 * first), sum, count, temporary)
    }
    a.add(r10, r11)
  }
}
