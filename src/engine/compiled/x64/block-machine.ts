import type { Assembler } from './assembler.js'
import type { Features } from './features.js'
import { type Memory, type Vector, ymm, zmm } from './operands.js'

/** Products of block weights by signed bytes, four at a time, in every 32-bit lane: one lane a column. */
export interface BlockMachine {
  readonly name: 'avx2' | 'avxVnni' | 'avx512Vnni'
  readonly registers: readonly Vector[]
  /** Columns of a panel: lanes of a vector. */
  readonly columns: 8 | 16
  /** What 8-bit codes are stored with, so that they are unsigned where the machine needs that. */
  readonly byteOffset: 0 | 128
  /** sum (+)= unsigned codes of 4 bits * activations; begins anew where `first`. Eight of these, then `finish`. */
  multiplyNibbles(a: Assembler, sum: Vector, codes: Vector, activations: Memory, temporary: Vector, first: boolean): void
  /** The same for codes of 8 bits; two registers may be overwritten, `ones` holds words of 1. */
  multiplyBytes(
    a: Assembler,
    sum: Vector,
    codes: Vector,
    activations: Memory,
    temporaries: readonly Vector[],
    ones: Vector,
    first: boolean,
  ): void
  /** Makes the sum of products of nibbles one of 32 bits. */
  finish(a: Assembler, sum: Vector, ones: Vector): void
}

/** A dot product instruction of VNNI, from memory by way of a register. */
function vnni(
  dot: (a: Assembler, sum: Vector, codes: Vector, activations: Vector) => void,
): Pick<BlockMachine, 'multiplyNibbles' | 'multiplyBytes' | 'finish'> {
  const multiply = (a: Assembler, sum: Vector, codes: Vector, activations: Memory, temporary: Vector, first: boolean) => {
    if (first) a.vxorps(sum, sum, sum)
    a.vbroadcastss(temporary, activations)
    dot(a, sum, codes, temporary)
  }
  return {
    multiplyNibbles: multiply,
    multiplyBytes: (a, sum, codes, activations, [temporary], _ones, first) => multiply(a, sum, codes, activations, temporary, first),
    finish() {},
  }
}

export const blockMachines: Readonly<Record<BlockMachine['name'], BlockMachine>> = {
  avx2: {
    name: 'avx2',
    registers: ymm.slice(0, 16),
    columns: 8,
    byteOffset: 0,
    // A pair is at most 15 * 127 * 2, and eight pairs still fit in 16 bits.
    multiplyNibbles(a, sum, codes, activations, temporary, first) {
      a.vbroadcastss(temporary, activations)
      a.vpmaddubsw(first ? sum : temporary, codes, temporary)
      if (!first) a.vpaddw(sum, sum, temporary)
    },
    // |code| * (activation with the code's sign): a pair is at most 128 * 127 * 2.
    multiplyBytes(a, sum, codes, activations, [magnitude, temporary], ones, first) {
      a.vpabsb(magnitude, codes)
      a.vbroadcastss(temporary, activations)
      a.vpsignb(temporary, temporary, codes)
      a.vpmaddubsw(temporary, magnitude, temporary)
      a.vpmaddwd(first ? sum : temporary, temporary, ones)
      if (!first) a.vpaddd(sum, sum, temporary)
    },
    finish: (a, sum, ones) => a.vpmaddwd(sum, sum, ones),
  },
  avxVnni: {
    name: 'avxVnni',
    registers: ymm.slice(0, 16),
    columns: 8,
    byteOffset: 128,
    ...vnni((a, sum, codes, activations) => a.vpdpbusdVex(sum, codes, activations)),
  },
  avx512Vnni: {
    name: 'avx512Vnni',
    registers: zmm,
    columns: 16,
    byteOffset: 128,
    ...vnni((a, sum, codes, activations) => a.vpdpbusd(sum, codes, activations)),
  },
}

/** The fastest machine for block weights. */
export function chooseBlockMachine(features: Features): BlockMachine | undefined {
  if (features.avx512Vnni) return blockMachines.avx512Vnni
  if (features.avxVnni) return blockMachines.avxVnni
  return features.avx2 ? blockMachines.avx2 : undefined
}
