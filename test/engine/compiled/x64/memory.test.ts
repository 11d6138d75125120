import { readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { assembler } from '../../../../src/engine/compiled/x64/assembler.js'
import { featuresFrom } from '../../../../src/engine/compiled/x64/features.js'
import { processorFeatures } from '../../../../src/engine/compiled/x64/features.node.js'
import { addressOf, kernelAt, mapCode, mapMemory, viewMemory } from '../../../../src/engine/compiled/x64/memory.node.js'
import { at, rax, rdi } from '../../../../src/engine/compiled/x64/operands.js'
import { runsHere } from './machine.js'

/** Adds the second number to the first, both 64 bits. */
function adder(): Uint8Array {
  const a = assembler()
  a.mov(rax, at(rdi, 8))
  a.add(at(rdi), rax)
  a.ret()
  return a.code()
}

describe.skipIf(!runsHere)('code memory', () => {
  it('runs code on this thread and in the background', async () => {
    const code = mapCode(adder())
    const numbers = BigInt64Array.of(40n, 2n)
    code.call(addressOf(numbers))
    expect(numbers[0]).toBe(42n)
    await new Promise<void>((resolve, reject) => code.call.async(addressOf(numbers), (error) => (error ? reject(error) : resolve())))
    expect(numbers[0]).toBe(44n)
    code.release()
  })

  it('is executable and not writable', () => {
    const code = mapCode(adder())
    expect(rightsAt(code.address)).toBe('r-xp')
    const data = mapMemory(100)
    expect(rightsAt(data.address)).toBe('rw-p')
    code.release()
    data.release()
  })

  it('runs on a worker thread by its address', async () => {
    const code = mapCode(adder())
    const memory = mapMemory(64)
    const numbers = new BigInt64Array(viewMemory(memory.address, 16).buffer)
    numbers.set([5n, 6n])
    const source = `
      const { workerData } = require('node:worker_threads')
      const koffi = require('koffi')
      koffi.load(null)
      koffi.decode(workerData.code, koffi.proto('void', ['int64_t']))(workerData.data)
    `
    await new Promise<void>((resolve, reject) => {
      const worker = new Worker(source, { eval: true, workerData: { code: code.address, data: memory.address } })
      worker.once('error', reject).once('exit', () => resolve())
    })
    expect(numbers[0]).toBe(11n)
    kernelAt(code.address)(memory.address)
    expect(numbers[0]).toBe(17n)
    memory.release()
    code.release()
  })

  it('maps memory between guards', () => {
    const memory = mapMemory(1000, { guards: true })
    const start = memory.address & ~4095n
    expect(rightsAt(start)).toBe('rw-p')
    expect(rightsAt(start - 4096n)).toBe('---p')
    expect(rightsAt(start + 4096n)).toBe('---p')
    expect(memory.address + 1024n).toBe(start + 4096n)
    memory.release()
  })

  it('maps huge pages at their boundary', () => {
    const memory = mapMemory(100, { hugePages: true })
    expect(memory.address % BigInt(2 ** 21)).toBe(0n)
    viewMemory(memory.address, memory.bytes).fill(1)
    memory.release()
  })
})

describe('where code cannot be mapped', () => {
  it('says so with an error that callers can tell apart', () => {
    const arch = Object.getOwnPropertyDescriptor(process, 'arch')!
    try {
      Object.defineProperty(process, 'arch', { ...arch, value: 'arm64' })
      expect(() => mapCode(adder())).toThrow(expect.objectContaining({ code: 'unsupported' }))
    } finally {
      Object.defineProperty(process, 'arch', arch)
    }
  })

  it.skipIf(!runsHere)('names memory that the system refuses', () => {
    expect(() => mapMemory(2 ** 52)).toThrow(expect.objectContaining({ code: 'out-of-memory' }))
  })
})

describe.skipIf(!runsHere || process.platform !== 'linux')('features', () => {
  it('are those that the kernel lists', () => {
    const flags = new Set(/^flags\s*: (.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))![1].split(' '))
    const all = (...names: string[]) => names.every((name) => flags.has(name))
    const avx2 = all('avx2', 'fma', 'f16c', 'bmi2')
    const avx512 = avx2 && all('avx512f', 'avx512dq', 'avx512bw', 'avx512vl')
    expect(processorFeatures()).toMatchObject({
      avx2,
      avx512,
      avxVnni: all('avx_vnni'),
      avx512Vnni: avx512 && all('avx512_vnni'),
      avx512Bf16: avx512 && all('avx512_bf16'),
    })
  })
})

describe('features from answers', () => {
  const everything = 0xffffffff
  const answers = (state: number, permit: boolean) => ({
    cpuid: (leaf: number): [number, number, number, number] =>
      leaf === 0 ? [7, 0, 0, 0] : [everything, everything, everything, everything],
    enabledState: () => state,
    permitTiles: () => permit,
  })

  it('count only where the operating system saves their state', () => {
    expect(featuresFrom(answers(0, true))).toMatchObject({ avx2: false, avxVnni: false, avx512: false, amxInt8: false })
    expect(featuresFrom(answers(0b111, true))).toMatchObject({ avx2: true, avxVnni: true, avx512: false, amxInt8: false })
    expect(featuresFrom(answers(0xe7, true))).toMatchObject({ avx2: true, avx512Vnni: true, avx512Bf16: true, amxInt8: false })
    expect(featuresFrom(answers(0x600e7, true)).amxInt8).toBe(true)
    expect(featuresFrom(answers(0x600e7, false)).amxInt8).toBe(false)
  })
})

function rightsAt(address: bigint): string | undefined {
  for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    const [, from, to, rights] = /^(\w+)-(\w+) (\S+)/.exec(line) ?? []
    if (from && BigInt(`0x${from}`) <= address && address < BigInt(`0x${to}`)) return rights
  }
  return undefined
}
