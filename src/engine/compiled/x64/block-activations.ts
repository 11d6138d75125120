import type { Assembler } from './assembler.js'
import { activationBlock } from './block-gemm.js'
import { at, Label, type Memory, r8q, r9, r10, r11, rax, rcx, rdx, rsi, xmm, ymm } from './operands.js'
import { kernel, Parameters } from './parameters.js'

/** `input`: float32 [rows, 32 * blocks], rows `inputStride` bytes apart; `output`: rows of blocks, `outputStride` apart. */
export const quantizeBlocksParameters = new Parameters(['input', 'inputStride', 'rows', 'blocks', 'output', 'outputStride'])

/** Below this, a block is written as zeros. */
const smallest = 2 ** -100

/**
 * Code that quantizes rows to signed bytes in blocks of 32, as `blockGemm` reads them: scale = max|x| / 127,
 * code = round(x * (127 / max|x|)), halves to even. Needs AVX2. Called with `quantizeBlocksParameters`.
 */
export function quantizeBlocks(): Uint8Array {
  const constants = new Label()
  return kernel(
    0,
    (a) => emitQuantize(a, (i) => at(constants, 4 * i)),
    (a) => {
      const order = Int32Array.of(0, 4, 1, 5, 2, 6, 3, 7)
      const bits = new Int32Array(Float32Array.of(127, smallest).buffer)
      constants.position = a.constants(Int32Array.of(...bits, 0x7fffffff, 0x01010101, 0x00010001, 0, 0, 0, ...order)).position
    },
  )
}

function emitQuantize(a: Assembler, constant: (index: number) => Memory): void {
  const [nextRow, nextBlock, done] = [new Label(), new Label(), new Label()]
  const p = quantizeBlocksParameters
  a.mov(rdx, p.at('rows'))
  a.test(rdx, rdx)
  a.je(done)
  a.mov(rsi, p.at('input'))
  a.mov(rcx, p.at('output'))
  a.vbroadcastss(ymm[15], constant(2))
  a.vbroadcastss(ymm[14], constant(3))
  a.vbroadcastss(ymm[13], constant(4))
  a.vmovups(ymm[12], constant(8))
  a.bind(nextRow)
  a.mov(r8q, rsi)
  a.mov(r9, rcx)
  a.mov(rax, p.at('blocks'))
  a.bind(nextBlock)
  emitBlock(a, constant)
  a.add(r8q, 128)
  a.add(r9, activationBlock.bytes)
  a.dec(rax)
  a.jne(nextBlock)
  a.mov(r10, p.at('inputStride'))
  a.add(rsi, r10)
  a.mov(r11, p.at('outputStride'))
  a.add(rcx, r11)
  a.dec(rdx)
  a.jne(nextRow)
  a.bind(done)
}

/** One block from r8 to r9. ymm15 clears signs, ymm14 and ymm13 are ones in bytes and words, ymm12 the order of lanes. */
function emitBlock(a: Assembler, constant: (index: number) => Memory): void {
  const values = ymm.slice(0, 4)
  const [largest, magnitude] = [ymm[4], ymm[5]]
  for (const [i, register] of values.entries()) {
    a.vmovups(register, at(r8q, 32 * i))
    a.vandps(i ? magnitude : largest, register, ymm[15])
    if (i) a.vmaxps(largest, largest, magnitude)
  }
  const [low, high] = [xmm[4], xmm[5]]
  a.vextractf128(high, largest, 1)
  for (const order of [0x4e, 0xb1]) {
    a.vmaxps(low, low, high)
    a.vpermilps(high, low, order)
  }
  a.vmaxps(low, low, high)
  a.vmaxss(low, low, constant(1))
  a.vmovss(high, constant(0))
  a.vdivss(xmm[6], low, high)
  a.vmovss(at(r9, activationBlock.scale), xmm[6])
  a.vdivss(xmm[7], high, low)
  a.vbroadcastss(ymm[7], xmm[7])
  for (const register of values) {
    a.vmulps(register, register, ymm[7])
    a.vcvtps2dq(register, register)
  }
  a.vpackssdw(values[0], values[0], values[1])
  a.vpackssdw(values[2], values[2], values[3])
  a.vpacksswb(values[0], values[0], values[2])
  a.vpermd(values[0], ymm[12], values[0])
  a.vmovdqu(at(r9), values[0])
  emitSum(a)
}

/** Sum of the codes in ymm0, and that times the scale in xmm6, to their places behind r9. */
function emitSum(a: Assembler): void {
  a.vpmaddubsw(ymm[0], ymm[14], ymm[0])
  a.vpmaddwd(ymm[0], ymm[0], ymm[13])
  a.vextracti128(xmm[1], ymm[0], 1)
  for (const order of [0x4e, 0xb1]) {
    a.vpaddd(xmm[0], xmm[0], xmm[1])
    a.vpshufd(xmm[1], xmm[0], order)
  }
  a.vpaddd(xmm[0], xmm[0], xmm[1])
  a.vmovd(at(r9, activationBlock.sum), xmm[0])
  a.vcvtdq2ps(xmm[0], xmm[0])
  a.vmulss(xmm[0], xmm[0], xmm[6])
  a.vmovss(at(r9, activationBlock.scaledSum), xmm[0])
}
