import { type Assembler, assembler } from './assembler.js'
import { at, type General, type Memory, r12, r13, r14, r15, rbp, rbx, rdi, rsp } from './operands.js'

/** What a kernel is called with: a block of 64-bit words, one for each name; its address is the only argument. */
export class Parameters<Name extends string> {
  constructor(readonly names: readonly Name[]) {}

  /** Where the kernel finds a word: the block's address is in rdi, unless it was moved. */
  at(name: Name, block: General = rdi): Memory {
    return at(block, 8 * this.names.indexOf(name))
  }

  /** The block for a call: addresses, counts, and distances in bytes. */
  block(values: Record<Name, bigint | number>): BigInt64Array {
    return BigInt64Array.from(this.names, (name) => BigInt(values[name]))
  }
}

/** Registers that belong to the caller. */
const kept: readonly General[] = [rbx, rbp, r12, r13, r14, r15]

/**
 * Code of a kernel by the System V calling convention: all general registers may be used, rdi holds the parameters.
 *
 * @param locals bytes on the stack that the body may use, from rsp upwards; aligned to 64
 */
export function kernel(locals: number, body: (a: Assembler) => void, beside: (a: Assembler) => void = () => {}): Uint8Array {
  const a = assembler()
  const frame = Math.ceil(locals / 64) * 64 + 64
  for (const register of kept) a.push(register)
  a.mov(rbp, rsp)
  a.sub(rsp, frame)
  a.and(rsp, -64)
  a.mov(at(rsp, frame - 64), rbp)
  body(a)
  a.vzeroupper()
  a.mov(rsp, at(rsp, frame - 64))
  for (const register of [...kept].reverse()) a.pop(register)
  a.ret()
  beside(a)
  return a.code()
}
