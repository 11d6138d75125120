import { TinsmithError, unsupported } from '../../../base/errors.js'
import { native, system } from '../../koffi.node.js'
import { roundUp } from '../plan/steps.js'

/** Memory of our own, outside JavaScript's heap. Every thread may use it by its address. */
export interface Mapped {
  readonly address: bigint
  readonly bytes: number
  /** Gives it back; nothing may use it any more. */
  release(): void
}

/** Machine code that can be called. */
export interface MappedCode extends Mapped {
  /** The code as a function of one argument, called on this thread. */
  readonly call: KernelCall
}

/** Calls a kernel with the address of its arguments. `async` does so on a thread of libuv's pool. */
export interface KernelCall {
  (parameters: bigint | number): void
  async(parameters: bigint | number, done: (error: unknown) => void): void
}

/** Numbers of sys/mman.h. */
const [readable, writable, executable] = [1, 2, 4]
const failed = -1n
const madviseHugePage = 14
const huge = 2 ** 21
const page = 4096

interface MemoryFunctions {
  mmap(address: null, bytes: number, protection: number, flags: number, file: number, offset: number): bigint
  mprotect(address: bigint, bytes: number, protection: number): number
  munmap(address: bigint, bytes: number): number
  madvise(address: bigint, bytes: number, advice: number): number
}

let functions: MemoryFunctions | undefined

function memoryFunctions(): MemoryFunctions {
  if (process.arch !== 'x64' || process.platform === 'win32') {
    throw unsupported(`Machine code for x64 does not run on ${process.platform} ${process.arch}`, { hint: 'The WebAssembly kernels do.' })
  }
  if (functions) return functions
  const library = system()
  const mmap = library.func('mmap', 'int64_t', ['void *', 'size_t', 'int', 'int', 'int', 'int64_t'])
  functions = {
    mmap: (...args) => BigInt(mmap(...args)),
    mprotect: library.func('mprotect', 'int', ['void *', 'size_t', 'int']),
    munmap: library.func('munmap', 'int', ['void *', 'size_t']),
    madvise: library.func('madvise', 'int', ['void *', 'size_t', 'int']),
  }
  return functions
}

/**
 * Makes machine code callable: pages are mapped, written, and then made executable and read-only. They are never
 * writable and executable at once.
 *
 * @param code independent of where it stands; arguments come in the registers of the System V calling convention
 * @throws TinsmithError `unsupported` where the machine is no x64, or its system forbids new code
 */
export function mapCode(code: Uint8Array): MappedCode {
  const { mprotect } = memoryFunctions()
  const mapped = mapMemory(code.length)
  viewMemory(mapped.address, code.length).set(code)
  if (mprotect(mapped.address, mapped.bytes, readable | executable)) {
    mapped.release()
    throw unsupported('The operating system does not let this process run code that it made', {
      hint: 'The WebAssembly kernels need no such right.',
    })
  }
  return { ...mapped, call: kernelAt(mapped.address) }
}

let prototype: ReturnType<ReturnType<typeof native>['proto']> | undefined

/** The kernel at an address that `mapCode` gave, perhaps to another thread. */
export function kernelAt(address: bigint): KernelCall {
  const koffi = native()
  prototype ??= koffi.proto('void', ['int64_t'])
  return koffi.decode(address, prototype) as KernelCall
}

/** Options of `mapMemory`. */
export interface MapOptions {
  /** Ask for pages of 2 MiB, which spare the processor many lookups in large weights. */
  readonly hugePages?: boolean
  /** Put a page on each side that must not be touched; the end is then exact to 64 bytes. */
  readonly guards?: boolean
}

/**
 * Maps memory of zeros, aligned to 64 bytes at least.
 *
 * @throws TinsmithError `unsupported` where the machine is no x64, `out-of-memory` where the system refuses
 */
export function mapMemory(bytes: number, { hugePages = false, guards = false }: MapOptions = {}): Mapped {
  const { mmap, mprotect, munmap, madvise } = memoryFunctions()
  const inside = roundUp(Math.max(bytes, 1), hugePages ? huge : page)
  const outside = inside + (guards ? 2 * page : hugePages ? huge : 0)
  const anonymous = process.platform === 'darwin' ? 0x1002 : 0x22
  const start = mmap(null, outside, readable | writable, anonymous, -1, 0)
  if (start === failed) throw new TinsmithError('out-of-memory', `The operating system refuses to map ${bytes} bytes of memory`)
  const first = guards ? start + BigInt(page) : hugePages ? BigInt(roundUp(Number(start), huge)) : start
  if (guards) {
    mprotect(start, page, 0)
    mprotect(first + BigInt(inside), page, 0)
  }
  if (hugePages && process.platform === 'linux') madvise(first, inside, madviseHugePage)
  const address = guards ? first + BigInt(inside - roundUp(bytes, 64)) : first
  return { address, bytes: inside, release: () => void munmap(start, outside) }
}

/** Copies bytes on a thread of libuv's pool. */
export function copyMemory(to: bigint, from: bigint, bytes: number): Promise<void> {
  const copy = system().func('memcpy', 'int64_t', ['int64_t', 'int64_t', 'size_t'])
  return new Promise((resolve, reject) => copy.async(to, from, bytes, (error: unknown) => (error ? reject(error) : resolve())))
}

/** Calls code on a thread of libuv's pool. */
export function called(code: KernelCall, parameters: bigint | number): Promise<void> {
  return new Promise((resolve, reject) => code.async(parameters, (error) => (error ? reject(error) : resolve())))
}

/** The memory at an address as bytes; valid until it is released. */
export function viewMemory(address: bigint, bytes: number): Uint8Array {
  return new Uint8Array(native().view(address, bytes))
}

/** The address of an array's first element; the caller keeps the array while it is used. */
export function addressOf(array: ArrayBufferView): bigint {
  return native().address(array)
}
