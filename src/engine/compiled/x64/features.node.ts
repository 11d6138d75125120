import { system } from '../../koffi.node.js'
import { assembler } from './assembler.js'
import { type Features, featuresFrom, type ProcessorAnswers } from './features.js'
import { linkedCode } from './linked-code.node.js'
import { addressOf, kernelAt, mapCode } from './memory.node.js'
import { as, at, r8q, r32, rbx, rcx, rdi } from './operands.js'

let found: Features | undefined

/**
 * The features of this processor, asked once.
 *
 * @throws TinsmithError `unsupported` where machine code cannot run at all
 */
export function processorFeatures(): Features {
  found ??= askProcessor()
  return found
}

/** Runs CPUID and XGETBV in code of our own; the code is released again. */
function askProcessor(): Features {
  const { code, offsets } = linkedCode(new Map(Object.entries({ cpuid, xgetbv })), null)
  const mapped = mapCode(code)
  const ask = (key: 'cpuid' | 'xgetbv', ...words: number[]): Uint32Array => {
    const answer = Uint32Array.from([...words, 0, 0, 0, 0].slice(0, 4))
    kernelAt(mapped.address + BigInt(offsets.get(key)!))(addressOf(answer))
    return answer
  }
  const answers: ProcessorAnswers = {
    cpuid(leaf, subleaf) {
      const [eax, ebx, ecx, edx] = ask('cpuid', leaf, subleaf)
      return [eax, ebx, ecx, edx]
    },
    enabledState: () => ask('xgetbv')[0],
    permitTiles,
  }
  const features = featuresFrom(answers)
  mapped.release()
  return features
}

const [eax, , edx] = r32

/** Reads leaf and subleaf from the argument's first two words and writes the four answers over it. */
function cpuid(): Uint8Array {
  const a = assembler()
  a.mov(r8q, rbx) // belongs to the caller
  a.mov(eax, at(rdi))
  a.mov(as('r32', rcx), at(rdi, 4))
  a.cpuid()
  for (const [i, register] of [eax, as('r32', rbx), as('r32', rcx), edx].entries()) a.mov(at(rdi, 4 * i), register)
  a.mov(rbx, r8q)
  a.ret()
  return a.code()
}

function xgetbv(): Uint8Array {
  const a = assembler()
  a.xor(as('r32', rcx), as('r32', rcx))
  a.xgetbv()
  a.mov(at(rdi), eax)
  a.ret()
  return a.code()
}

/** Numbers of Linux: syscall arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA. */
const [archPrctl, requestPermission, tileData] = [158, 0x1023, 18]

function permitTiles(): boolean {
  if (process.platform !== 'linux') return false
  return Number(system().func('syscall', 'int64_t', ['int64_t', 'int64_t', 'int64_t'])(archPrctl, requestPermission, tileData)) === 0
}
