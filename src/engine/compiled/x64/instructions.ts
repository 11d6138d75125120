import { vectorInstructions } from './vector-instructions.js'

const hex = (byte: number) => byte.toString(16).padStart(2, '0')

/** add, or, and, sub, xor, cmp: one pattern, told apart by a digit. */
const arithmetic = (digit: number) =>
  [
    `r, r/m | RM L NP 0 W ${hex(8 * digit + 3)}`,
    `m, r | MR L NP 0 W ${hex(8 * digit + 1)}`,
    `r, i8 | MI L NP 0 W 83/${digit}`,
    `r, i32 | MI L NP 0 W 81/${digit}`,
  ] as const
const shift = (digit: number) => [`r, u8 | MI L NP 0 W C1/${digit}`] as const
const jump = (condition: number) => [`j | J L NP 0F 0 ${hex(0x80 + condition)}`] as const
const move = (condition: number) => [`r, r/m | RM L NP 0F W ${hex(0x40 + condition)}`] as const
const set = (condition: number) => [`r8 | M L NP 0F 0 ${hex(0x90 + condition)}`] as const
const unary = (digit: number) => [`r | M L NP 0 W F7/${digit}`] as const
const prefetch = (digit: number) => [`m8 | M L NP 0F 0 18/${digit}`] as const

/** General registers, branches and what is neither number nor vector. Notation: see forms.ts. */
const generalInstructions = {
  mov: [
    'r, r/m | RM L NP 0 W 8B',
    'm, r | MR L NP 0 W 89',
    'm8, r8 | MR L NP 0 0 88',
    'r64, i32 | MI L NP 0 1 C7/0',
    'r32, u32 | OI L NP 0 0 B8',
    'r64, i64 | OI L NP 0 1 B8',
  ],
  movzx: ['r, r8/m8 | RM L NP 0F W B6'],
  movzx16: ['r, m16 | RM L NP 0F W B7'],
  movsx: ['r, r8/m8 | RM L NP 0F W BE'],
  movsxd: ['r64, r32/m32 | RM L NP 0 1 63'],
  lea: ['r, m | RM L NP 0 W 8D'],
  add: arithmetic(0),
  or: arithmetic(1),
  and: arithmetic(4),
  sub: arithmetic(5),
  xor: arithmetic(6),
  cmp: arithmetic(7),
  test: ['r, r | MR L NP 0 W 85'],
  imul: ['r, r/m | RM L NP 0F W AF', 'r, r/m, i32 | RMI L NP 0 W 69'],
  not: unary(2),
  neg: unary(3),
  mul: unary(4),
  div: unary(6),
  inc: ['r | M L NP 0 W FF/0'],
  dec: ['r | M L NP 0 W FF/1'],
  shl: shift(4),
  shr: shift(5),
  sar: shift(7),
  sete: set(4),
  setne: set(5),
  setb: set(2),
  setae: set(3),
  setl: set(12),
  setge: set(13),
  tzcnt: ['r, r/m | RM L F3 0F W BC'],
  lzcnt: ['r, r/m | RM L F3 0F W BD'],
  popcnt: ['r, r/m | RM L F3 0F W B8'],
  push: ['r64 | O L NP 0 0 50'],
  pop: ['r64 | O L NP 0 0 58'],
  ret: [' | N L NP 0 0 C3'],
  call: ['j | J L NP 0 0 E8', 'r64 | M L NP 0 0 FF/2'],
  jmp: ['j | J L NP 0 0 E9', 'r64 | M L NP 0 0 FF/4'],
  jb: jump(2),
  jae: jump(3),
  je: jump(4),
  jne: jump(5),
  jbe: jump(6),
  ja: jump(7),
  js: jump(8),
  jns: jump(9),
  jl: jump(12),
  jge: jump(13),
  jle: jump(14),
  jg: jump(15),
  cmovb: move(2),
  cmovae: move(3),
  cmove: move(4),
  cmovne: move(5),
  cmovl: move(12),
  cmovge: move(13),
  cmovle: move(14),
  cmovg: move(15),
  lockXadd: ['m, r | MR L F0 0F W C1'],
  lockCmpxchg: ['m, r | MR L F0 0F W B1'],
  xchg: ['m, r | MR L NP 0 W 87'],
  mfence: [' | N L NP 0F 0 AEF0'],
  pause: [' | N L F3 0 0 90'],
  nop: [' | N L NP 0 0 90'],
  int3: [' | N L NP 0 0 CC'],
  cpuid: [' | N L NP 0F 0 A2'],
  xgetbv: [' | N L NP 0F 0 01D0'],
  rdtsc: [' | N L NP 0F 0 31'],
  prefetchnta: prefetch(0),
  prefetcht0: prefetch(1),
  prefetcht1: prefetch(2),
  prefetcht2: prefetch(3),
  shlx: ['r, r/m, r | RMV V 66 0F38 W F7'],
  shrx: ['r, r/m, r | RMV V F2 0F38 W F7'],
  bzhi: ['r, r/m, r | RMV V NP 0F38 W F5'],
} as const

/** All instructions by their names: one record each, a list of forms of which the first that fits is taken. */
export const instructions = { ...generalInstructions, ...vectorInstructions } as const

export type Mnemonic = keyof typeof instructions
