/** What the processor has and the operating system lets programs use. */
export interface Features {
  /** AVX2, FMA, BMI2 and half-precision conversions, which came together. */
  readonly avx2: boolean
  /** Dot products of bytes in vectors of 256 bits, VEX encoding. */
  readonly avxVnni: boolean
  /** Vectors of 512 bits: AVX512 F, BW, DQ and VL. */
  readonly avx512: boolean
  readonly avx512Vnni: boolean
  readonly avx512Bf16: boolean
  /** Tiles of bytes; permission to use their state has been asked for. */
  readonly amxInt8: boolean
}

/** Answers of CPUID and XGETBV; a test can hand in those of other processors. */
export interface ProcessorAnswers {
  /** [eax, ebx, ecx, edx] */
  cpuid(leaf: number, subleaf: number): readonly [number, number, number, number]
  /** The low half of extended control register 0: which state the operating system saves. */
  enabledState(): number
  /** Asks the operating system for the state of tiles. */
  permitTiles(): boolean
}

/** Reads the features out of the answers. Source: Intel Software Developer's Manual, volume 2, CPUID; volume 1, 13 to 15 and 18. */
export function featuresFrom({ cpuid, enabledState, permitTiles }: ProcessorAnswers): Features {
  const highest = cpuid(0, 0)[0]
  const [, , basic] = cpuid(1, 0)
  const [subleaves, ebx, ecx, edx] = highest >= 7 ? cpuid(7, 0) : [0, 0, 0, 0]
  const [later] = subleaves >= 1 ? cpuid(7, 1) : [0]
  const state = has(basic, osxsave) ? enabledState() : 0
  const saves = (...bits: number[]) => has(state, ...bits)
  const avx2 = saves(1, 2) && has(basic, 12, 28, 29) && has(ebx, 5, 8)
  const avx512 = avx2 && saves(5, 6, 7) && has(ebx, 16, 17, 30, 31)
  return {
    avx2,
    avxVnni: avx2 && has(later, 4),
    avx512,
    avx512Vnni: avx512 && has(ecx, 11),
    avx512Bf16: avx512 && has(later, 5),
    amxInt8: avx512 && saves(17, 18) && has(edx, 24, 25) && permitTiles(),
  }
}

const osxsave = 27

function has(word: number, ...bits: number[]): boolean {
  return bits.every((bit) => (word >>> bit) & 1)
}
