import { type AttentionCode, add, attentionParameters, local, lowestScore, rangeLayout } from './attention-frame.js'
import { emitPowerOfTwo, powerConstants } from './attention-softmax.js'
import { as, at, Label, r8q, r9, r10, r12, r13, rax, rbx, rcx, rdx, rsi } from './operands.js'

/** Keys of a range are so many, or a multiple. */
const rangeKeys = 8

/** Sets where the sums of the sequence's ranges of keys lie. Overwrites rax, rdx. */
export function emitFirstSums({ a, shape, machine }: AttentionCode): void {
  a.mov(rax, attentionParameters.at('ranges'))
  if (shape.cache) {
    a.mov(rdx, attentionParameters.at('sequenceCount'))
    a.sub(rdx, local('sequencesLeft'))
    a.imul(rdx, attentionParameters.at('allRanges'))
    a.imul(rdx, rdx, rangeLayout(shape, machine).all)
    a.add(rax, rdx)
  }
  a.mov(local('firstSums'), rax)
}

/** Does something for each of this thread's ranges of keys. */
export function emitOwnRanges({ a, shape, machine }: AttentionCode, body: () => void): void {
  const { all } = rangeLayout(shape, machine)
  const [next, done] = [new Label(), new Label()]
  a.mov(rax, attentionParameters.at('firstRange'))
  a.mov(local('range'), rax)
  a.imul(rax, rax, all)
  a.add(rax, local('firstSums'))
  a.mov(local('sums'), rax)
  a.mov(rax, attentionParameters.at('ownRanges'))
  a.mov(local('rangesLeft'), rax)
  a.test(rax, rax)
  a.je(done)
  a.bind(next)
  body()
  add(a, 'range', 1)
  add(a, 'sums', all)
  add(a, 'rangesLeft', -1)
  a.jne(next)
  a.bind(done)
}

/** Sets `blockStart` and `keyEnd` to the range's part of the keys that the query sees. Overwrites rax, rbx, rcx, rdx, rsi. */
export function emitRangeOfKeys({ a, shape }: AttentionCode): void {
  const [start, total] = [rcx, rsi]
  a.xor(start, start)
  a.mov(total, local('total'))
  if (shape.window) {
    a.mov(rax, total)
    a.sub(rax, shape.window)
    a.cmovg(start, rax)
  }
  a.mov(rbx, attentionParameters.at('allRanges'))
  a.mov(rax, total)
  a.sub(rax, start)
  a.add(rax, rbx)
  a.dec(rax)
  a.xor(rdx, rdx)
  a.div(rbx)
  a.add(rax, rangeKeys - 1)
  a.and(rax, -rangeKeys)
  a.mov(rdx, local('range'))
  a.imul(rdx, rax)
  a.add(start, rdx)
  a.mov(local('blockStart'), start)
  a.add(start, rax)
  a.cmp(start, total)
  a.cmovg(start, total)
  a.mov(local('keyEnd'), start)
}

/**
 * Puts together the sums of all ranges, in their order, and divides by those of the weights, for the heads of this thread's share. Largest scores
 * become weights of the ranges.
 *
 * Source: Dao et al., Flash-Decoding for long-context inference (2023).
 */
export function emitJoin({ a, machine, shape, lanes, constants }: AttentionCode): void {
  const { valueRow, states, all } = rangeLayout(shape, machine)
  const [sum, x, temporary, another, largest, factor] = machine.registers
  const power = powerConstants(constants)
  const [nextHead, done] = [new Label(), new Label()]
  const eachRange = (body: () => void) => {
    const next = new Label()
    a.mov(r8q, r12)
    a.mov(r9, r13)
    a.mov(rcx, attentionParameters.at('allRanges'))
    a.bind(next)
    body()
    a.add(r8q, all)
    a.add(r9, all)
    a.dec(rcx)
    a.jne(next)
  }

  a.mov(r13, local('firstSums'))
  a.lea(r12, at(r13, states))
  a.mov(rsi, local('headOutput'))
  a.mov(r10, attentionParameters.at('firstHead'))
  a.lea(r12, at(r12, 0, r10, 8))
  a.imul(rax, r10, valueRow)
  a.add(r13, rax)
  a.imul(rax, r10, 4 * shape.valueSize)
  a.add(rsi, rax)
  a.mov(rbx, attentionParameters.at('headCount'))
  a.test(rbx, rbx)
  a.je(done)
  a.bind(nextHead)
  a.vmovups(largest, constants.float(lowestScore))
  eachRange(() => a.vmaxss(as('xmm', largest), as('xmm', largest), at(r8q)))
  a.vxorps(sum, sum, sum)
  eachRange(() => {
    a.vmovss(as('xmm', x), at(r8q))
    a.vsubps(as('xmm', x), as('xmm', x), as('xmm', largest))
    emitPowerOfTwo(a, x, [temporary, another], power)
    a.vmovss(at(r8q), as('xmm', x))
    a.vfmadd231ss(as('xmm', sum), as('xmm', x), at(r8q, 4))
  })
  a.vbroadcastss(x, as('xmm', sum))
  a.vmovups(factor, constants.float(1))
  a.vdivps(factor, factor, x)
  for (const { first, count } of lanes.pieces(shape.valueSize)) {
    a.vxorps(sum, sum, sum)
    eachRange(() => {
      a.vbroadcastss(x, at(r8q))
      a.vfmadd231ps(sum, x, at(r9, 4 * first))
    })
    a.vmulps(sum, sum, factor)
    lanes.store(a, at(rsi, 4 * first), sum, count, temporary)
  }
  a.add(rsi, 4 * shape.valueSize)
  a.add(r12, 8)
  a.add(r13, valueRow)
  a.dec(rbx)
  a.jne(nextHead)
  a.bind(done)
}
