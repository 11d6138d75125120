import type { Assembler } from './assembler.js'
import { at, Label, r8q, r9, r10, r11, r12, r13, r14, r15, rax, rbp, rbx, rcx, rdx, rsi, type Vector, xmm } from './operands.js'
import { kernel, Parameters } from './parameters.js'

/** Columns of a strip, and inputs that a turn of the kernel's loop takes. */
export const [stripColumns, stripInputs] = [16, 8]

/**
 * `source`: codes [8 * turns, outputs], rows `sourceStride` bytes apart; strips are read `sourceStep` bytes apart. A group of four inputs of a
 * strip goes to `target` as 16 words of four codes: columns 4i to 4i + 3 to `place i`, groups `targetStride` apart, strips `targetStep`.
 * `sums`: int32 [strips, 16], the sum of each column. `extremes`: int16 [2, 8], least and greatest of the sums that `CodeSurvey` calls pairs,
 * in each of 8 lanes; goes on from what is there.
 */
export const stripParameters = new Parameters([
  'source',
  'sourceStride',
  'sourceStep',
  'turns',
  'target',
  'targetStride',
  'targetStep',
  'place0',
  'place1',
  'place2',
  'place3',
  'strips',
  'sums',
  'extremes',
])

const places = [r12, r13, r14, r15]
const sums = xmm.slice(12, 16)
const [first, second, ones] = [xmm[2], xmm[7], xmm[10]]

/** Code that brings codes into the order of products of bytes and looks at them on the way. Called with `stripParameters`. */
export function packStrips(): Uint8Array {
  const p = stripParameters
  const wordsOfOne = new Label()
  return kernel(
    0,
    (a) => {
      const [strip, turn] = [new Label(), new Label()]
      a.mov(rsi, p.at('source'))
      a.mov(rbx, p.at('sourceStride'))
      a.mov(rdx, p.at('target'))
      a.mov(r8q, p.at('strips'))
      a.mov(r9, p.at('sums'))
      a.mov(r10, p.at('extremes'))
      for (const [i, place] of places.entries()) a.mov(place, p.at(`place${i as 0 | 1 | 2 | 3}`))
      a.vpcmpeqb(ones, ones, ones)
      a.vpabsb(ones, ones)
      a.bind(strip)
      for (const sum of sums) a.vpxor(sum, sum, sum)
      a.mov(rax, rsi)
      a.mov(r11, rdx)
      a.mov(rbp, p.at('turns'))
      a.align(32)
      a.bind(turn)
      const groups = [emitGroup(a, xmm.slice(0, 5)), emitGroup(a, xmm.slice(5, 10))]
      for (const group of groups) for (const [i, sum] of sums.entries()) emitPairs(a, group[i], sum, wordsOfOne)
      a.dec(rbp)
      a.jne(turn)
      for (const [i, sum] of sums.entries()) a.vmovdqu(at(r9, 16 * i), sum)
      a.add(r9, 64)
      a.add(rsi, p.at('sourceStep'))
      a.add(rdx, p.at('targetStep'))
      a.dec(r8q)
      a.jne(strip)
    },
    (a) => {
      wordsOfOne.position = a.constants(new Int16Array(8).fill(1)).position
    },
  )
}

/** Four rows of 16 codes as 16 words: the vectors that hold columns 0, 4, 8 and 12 and the three beside each. */
function emitGroup(a: Assembler, [r0, r1, r2, r3, r4]: readonly Vector[]): readonly Vector[] {
  a.vmovdqu(r0, at(rax))
  a.vmovdqu(r1, at(rax, 0, rbx))
  a.lea(rcx, at(rax, 0, rbx, 2))
  a.vmovdqu(r2, at(rcx))
  a.vmovdqu(r3, at(rcx, 0, rbx))
  a.lea(rax, at(rcx, 0, rbx, 2))
  a.vpunpcklbw(r4, r0, r1)
  a.vpunpckhbw(r0, r0, r1)
  a.vpunpcklbw(r1, r2, r3)
  a.vpunpckhbw(r2, r2, r3)
  a.vpunpcklwd(r3, r4, r1)
  a.vpunpckhwd(r1, r4, r1)
  a.vpunpcklwd(r4, r0, r2)
  a.vpunpckhwd(r0, r0, r2)
  const words = [r3, r1, r4, r0]
  for (const [i, place] of places.entries()) a.vmovdqu(at(r11, 0, place), words[i])
  a.add(r11, stripParameters.at('targetStride'))
  return words
}

/** Sums of two neighbouring inputs, and of all inputs of a column. */
function emitPairs(a: Assembler, words: Vector, sum: Vector, wordsOfOne: Label): void {
  a.vpmaddubsw(first, ones, words)
  emitKeep(a, 'vpminsw', second, first, 0)
  emitKeep(a, 'vpmaxsw', second, first, 16)
  a.vpmaddwd(first, first, at(wordsOfOne))
  a.vpaddd(sum, sum, first)
}

/** Keeps the least or greatest in each lane. */
function emitKeep(a: Assembler, keep: 'vpminsw' | 'vpmaxsw', temporary: Vector, values: Vector, offset: number): void {
  a[keep](temporary, values, at(r10, offset))
  a.vmovdqu(at(r10, offset), temporary)
}
