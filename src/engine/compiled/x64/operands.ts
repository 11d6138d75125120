/** The register files of x64: general registers by width, vectors by width, masks and tiles. */
export type RegisterKind = 'r64' | 'r32' | 'r8' | 'xmm' | 'ymm' | 'zmm' | 'k' | 'tmm'

const general = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi']
const bytes = ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil']

const kinds: Readonly<Record<RegisterKind, number>> = { r64: 0, r32: 1, r8: 2, xmm: 3, ymm: 4, zmm: 5, k: 6, tmm: 7 }

/** A register; a vector may carry the mask under which it is written. */
export class Register<K extends RegisterKind = RegisterKind> {
  /** Equal for registers that can stand for each other in every instruction; from 1 to 48. */
  readonly signature: number

  constructor(
    readonly kind: K,
    readonly index: number,
    readonly mask?: Mask,
    readonly zeroing = false,
  ) {
    this.signature = 1 + 6 * kinds[kind] + (index > 15 ? 3 : 0) + (mask ? 1 + Number(zeroing) : 0)
  }

  /** The same register, written only where the mask is set. */
  masked(mask: Mask): Register<K> {
    return new Register(this.kind, this.index, mask)
  }

  /** The same register, set to zero where the mask is not set. */
  zeroed(mask: Mask): Register<K> {
    return new Register(this.kind, this.index, mask, true)
  }

  /** The name that disassemblers print. */
  get name(): string {
    if (this.kind === 'r64') return general[this.index] ?? `r${this.index}`
    if (this.kind === 'r32') return general[this.index]?.replace('r', 'e') ?? `r${this.index}d`
    if (this.kind === 'r8') return bytes[this.index] ?? `r${this.index}b`
    return `${this.kind}${this.index}`
  }
}

export type General = Register<'r64'>
export type General32 = Register<'r32'>
export type Vector = Register<'xmm' | 'ymm' | 'zmm'>
export type Mask = Register<'k'>
export type Tile = Register<'tmm'>

function registers<K extends RegisterKind>(kind: K, count: number): readonly Register<K>[] {
  return Array.from({ length: count }, (_, index) => new Register(kind, index))
}

export const r64 = registers('r64', 16)
export const r32 = registers('r32', 16)
export const r8 = registers('r8', 16)
export const xmm = registers('xmm', 32)
export const ymm = registers('ymm', 32)
export const zmm = registers('zmm', 32)
export const k = registers('k', 8)
export const tmm = registers('tmm', 8)

export const [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8q, r9, r10, r11, r12, r13, r14, r15] = r64
export const [eax, ecx, edx, ebx] = r32

/** The same register file entry at another width. */
export function as<K extends RegisterKind>(kind: K, register: Register): Register<K> {
  return new Register(kind, register.index)
}

/** A place in the code, for jumps and for constants that lie beside the code. */
export class Label {
  readonly signature = 49
  /** Offset from the start of the code, or -1 until it is bound. */
  position = -1
}

/** A place in memory: base + index * scale + displacement, or a label. */
export class Memory {
  /** As registers have it; from 50 to 57. */
  readonly signature: number

  constructor(
    readonly base: General | Label,
    readonly index: General | undefined,
    readonly scale: 1 | 2 | 4 | 8,
    readonly displacement: number,
    readonly mask?: Mask,
    readonly broadcast = false,
  ) {
    this.signature = 50 + (base instanceof Label ? 4 : 0) + (broadcast ? 2 : 0) + (mask ? 1 : 0)
  }

  /** The place `bytes` further on. */
  plus(bytes: number): Memory {
    return new Memory(this.base, this.index, this.scale, this.displacement + bytes, this.mask, this.broadcast)
  }

  /** The same place, written only where the mask is set. */
  masked(mask: Mask): Memory {
    return new Memory(this.base, this.index, this.scale, this.displacement, mask, this.broadcast)
  }

  /** One element, repeated over the whole vector (EVEX embedded broadcast). */
  repeated(): Memory {
    return new Memory(this.base, this.index, this.scale, this.displacement, this.mask, true)
  }
}

/**
 * A place in memory.
 *
 * @example
 * at(rdi, 16) // [rdi + 16]
 * at(rsi, 0, rcx, 4) // [rsi + rcx * 4]
 */
export function at(base: General | Label, displacement = 0, index?: General, scale: 1 | 2 | 4 | 8 = 1): Memory {
  return new Memory(base, index, scale, displacement)
}

/** What an instruction can work on; numbers are immediates. */
export type Operand = Register | Memory | Label | number | bigint
