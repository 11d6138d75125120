import type { Assembler } from './assembler.js'
import type { Features } from './features.js'
import { type Memory, type Vector, ymm, zmm } from './operands.js'

/** A tile in the middle of its sums: what one step of a machine reads and writes. */
export interface TileStep {
  /** Sums, by row and vector. */
  readonly sums: readonly (readonly Vector[])[]
  /** Registers that hold no sums; the last ones keep what `prepare` put there. */
  readonly free: readonly Vector[]
  /** How many groups are added up in one step: a couple, where panels have such. */
  readonly groups?: 1 | 2
  /** The 32 bits of activations of a row, of the step's first group or the second one. */
  activations(row: number, group: number): Memory
  /** A vector of weights. */
  weights(group: number, vector: number): Memory
}

/** How an instruction set multiplies and sums up: what one generator of kernels needs to serve them all. */
export interface DotMachine {
  readonly name: DotMachineName
  /** The vector registers, all of one width. */
  readonly registers: readonly Vector[]
  /** Inputs that share 32 bits: 4 bytes, or 2 words where bytes have been widened, or 1 float32. */
  readonly group: 1 | 2 | 4
  /** Whether panels join groups in couples. */
  readonly coupled: boolean
  /** Vectors of sums beside each other in a tile. */
  readonly across: number
  /** Rows of a tile. */
  readonly rows: number
  /** Sets the constants that steps need, in the last of the free registers. */
  prepare(a: Assembler, free: readonly Vector[]): void
  /** sums += activations * weights over the group or the couple of a step, in every 32-bit lane; bytes of activations are unsigned. */
  step(a: Assembler, tile: TileStep): void
}

/**
 * - `avx2Couples`: exact where `avx2Bytes` is; groups whose sums of two products fit in 16 bits together are widened once for both.
 * - `avx2Bytes`: exact where two products fit in 16 bits, those of inputs 2i and 2i + 1: activations up to 127, or pair-safe
 *   weights (numbers/pair-safe.ts).
 * - `avx2Words`: exact always; activations are u16, weights s16.
 * - `avxVnni`, `avx512Vnni`: exact always.
 * - `avx2Float`, `avx512Float`: float32, fused multiply and add in the order of the inputs.
 */
export type DotMachineName = 'avx2Couples' | 'avx2Bytes' | 'avx2Words' | 'avxVnni' | 'avx512Vnni' | 'avx2Float' | 'avx512Float'

const narrow = { registers: ymm.slice(0, 16), across: 2, rows: 6, coupled: false, prepare() {} } as const
const wide = { registers: zmm, across: 4, rows: 6, coupled: false, prepare() {} } as const

/** A step that loads weights once for all rows, and activations once for all columns. */
function stepOf(dot: (a: Assembler, sum: Vector, activations: Vector, weights: Vector, temporary: Vector) => void): DotMachine['step'] {
  return (a, { sums, free, activations, weights }) => {
    const across = sums[0].length
    const held = free.slice(0, across)
    const [activation, temporary] = free.slice(across)
    for (const [v, register] of held.entries()) a.vmovups(register, weights(0, v))
    for (const [r, row] of sums.entries()) {
      a.vbroadcastss(activation, activations(r, 0))
      for (const [v, sum] of row.entries()) dot(a, sum, activation, held[v], temporary)
    }
  }
}

/** Words of 1 in the last register. */
function prepareOnes(a: Assembler, free: readonly Vector[]): void {
  const ones = free[free.length - 1]
  a.vpcmpeqw(ones, ones, ones)
  a.vpsrlw(ones, ones, 15)
}

export const dotMachines: Readonly<Record<DotMachineName, DotMachine>> = {
  avx2Couples: {
    ...narrow,
    name: 'avx2Couples',
    group: 4,
    coupled: true,
    rows: 4,
    prepare: prepareOnes,
    // Weights of a couple's second group are read from memory: there is no register left for them, and loads have time. Instructions of a kind stand
    // together, which spreads them over the units that take them.
    step(a, { sums, free, groups, activations, weights }) {
      const [activation, ...rest] = free
      const [held, firsts, seconds, [ones]] = [rest.slice(0, 2), rest.slice(2, 4), rest.slice(4, 6), rest.slice(6)]
      for (const [v, register] of held.entries()) a.vmovups(register, weights(0, v))
      for (const [r, row] of sums.entries()) {
        a.vbroadcastss(activation, activations(r, 0))
        for (const v of row.keys()) a.vpmaddubsw(firsts[v], activation, held[v])
        if (groups === 2) {
          a.vbroadcastss(activation, activations(r, 1))
          for (const v of row.keys()) a.vpmaddubsw(seconds[v], activation, weights(1, v))
          for (const v of row.keys()) a.vpaddw(firsts[v], firsts[v], seconds[v])
        }
        for (const v of row.keys()) a.vpmaddwd(firsts[v], firsts[v], ones)
        for (const [v, sum] of row.entries()) a.vpaddd(sum, sum, firsts[v])
      }
    },
  },
  avx2Bytes: {
    ...narrow,
    name: 'avx2Bytes',
    group: 4,
    prepare: prepareOnes,
    // Weights are read from memory: there is no register left for them, and loads have time.
    step(a, { sums, free: [activation, temporary, , ones], activations, weights }) {
      for (const [r, row] of sums.entries()) {
        a.vbroadcastss(activation, activations(r, 0))
        for (const [v, sum] of row.entries()) {
          a.vpmaddubsw(temporary, activation, weights(0, v))
          a.vpmaddwd(temporary, temporary, ones)
          a.vpaddd(sum, sum, temporary)
        }
      }
    },
  },
  avx2Words: {
    ...narrow,
    name: 'avx2Words',
    group: 2,
    step: stepOf((a, sum, activations, weights, temporary) => {
      a.vpmaddwd(temporary, activations, weights)
      a.vpaddd(sum, sum, temporary)
    }),
  },
  avxVnni: {
    ...narrow,
    name: 'avxVnni',
    group: 4,
    step: stepOf((a, sum, activations, weights) => a.vpdpbusdVex(sum, activations, weights)),
  },
  avx512Vnni: {
    ...wide,
    name: 'avx512Vnni',
    group: 4,
    step: stepOf((a, sum, activations, weights) => a.vpdpbusd(sum, activations, weights)),
  },
  avx2Float: {
    ...narrow,
    name: 'avx2Float',
    group: 1,
    step: stepOf((a, sum, activations, weights) => a.vfmadd231ps(sum, activations, weights)),
  },
  avx512Float: {
    ...wide,
    name: 'avx512Float',
    group: 1,
    step: stepOf((a, sum, activations, weights) => a.vfmadd231ps(sum, activations, weights)),
  },
}

/** Bytes of a vector of the machine. */
export function vectorBytes({ registers: [first] }: { readonly registers: readonly Vector[] }): number {
  return first.kind === 'zmm' ? 64 : 32
}

/** Columns of a panel: what a tile computes side by side. */
export function panelColumns(machine: DotMachine): number {
  return (machine.across * vectorBytes(machine)) / 4
}

/** The fastest machine for float32. */
export function chooseFloatMachine(features: Features): DotMachine | undefined {
  return features.avx512 ? dotMachines.avx512Float : features.avx2 ? dotMachines.avx2Float : undefined
}

/**
 * The fastest machine for codes.
 *
 * @param narrowest the one that is exact for the weights where the processor has AVX2 alone
 */
export function chooseDotMachine(features: Features, narrowest: 'avx2Couples' | 'avx2Bytes' | 'avx2Words'): DotMachine | undefined {
  if (features.avx512Vnni) return dotMachines.avx512Vnni
  if (features.avxVnni) return dotMachines.avxVnni
  return features.avx2 ? dotMachines[narrowest] : undefined
}
