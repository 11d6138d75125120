import { TinsmithError } from '../../../base/errors.js'
import { Heap, outOfMemory, pageBytes } from './heap.js'
import type { Job, Request, Span } from './protocol.js'
import { canShare, crew, type Outcome, type WasmWorker } from './workers.js'

/** The memory of a program: shared with the threads, or that of the only thread, which is written by messages. */
export interface ProgramMemory {
  readonly shared: boolean
  readonly heap: Heap
  readonly pages: number
  write(address: number, values: ArrayBufferView): void
  /** A copy of what is there; only of shared memory. */
  read(address: number, bytes: number): Uint8Array<ArrayBuffer>
  /** Runs a job on a thread that has the module and gives what the spans hold afterwards. */
  run(job: Job, load: Extract<Request, { kind: 'load' }>, reads: readonly Span[]): Promise<Outcome>
  /** Stops a job at the next kernel, where that is possible. */
  cancel(address: number): void
}

/** Pages that WebAssembly can address. */
const mostPages = 65536

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => new Uint8Array(buffer, byteOffset, byteLength)

/** Memory for a program: shared where threads may share. */
export function programMemory(): ProgramMemory {
  return canShare() ? new SharedMemory() : new RemoteMemory()
}

class SharedMemory implements ProgramMemory {
  readonly shared = true
  readonly pages = mostPages
  readonly memory: WebAssembly.Memory
  readonly heap = new Heap((bytes) => this.#reach(bytes))

  constructor() {
    try {
      this.memory = new WebAssembly.Memory({ initial: 1, maximum: mostPages, shared: true })
    } catch (error) {
      throw outOfMemory(pageBytes, error)
    }
  }

  write(address: number, values: ArrayBufferView): void {
    new Uint8Array(this.memory.buffer).set(bytesOf(values), address)
  }

  read(address: number, bytes: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(new Uint8Array(this.memory.buffer, address, bytes))
  }

  async run(job: Job, load: Extract<Request, { kind: 'load' }>, reads: readonly Span[]) {
    const outcome = await crew.lend(async (worker) => {
      await worker.load({ ...load, memory: this.memory })
      return worker.run(job, [])
    })
    return { ...outcome, results: reads.map(({ address, bytes }) => new Uint8Array(this.memory.buffer, address, bytes)) }
  }

  cancel(address: number): void {
    Atomics.store(new Int32Array(this.memory.buffer), address / 4, 1)
  }

  #reach(bytes: number): void {
    const missing = Math.ceil((bytes - this.memory.buffer.byteLength) / pageBytes)
    if (missing <= 0) return
    try {
      this.memory.grow(missing)
    } catch (error) {
      throw outOfMemory(bytes, error)
    }
  }
}

/** What is written waits here until the thread gets it with the next job. */
class RemoteMemory implements ProgramMemory {
  readonly shared = false
  readonly pages = mostPages
  readonly heap = new Heap((bytes) => this.#reach(bytes))
  #pending: { address: number; bytes: Uint8Array<ArrayBuffer> }[] = []
  #grown = 1
  #wanted = 1
  #holder: WasmWorker | undefined

  write(address: number, values: ArrayBufferView): void {
    this.#pending.push({ address, bytes: bytesOf(values).slice() })
  }

  read(): never {
    throw new Error('Memory of a thread can only be read after a job')
  }

  run(job: Job, load: Extract<Request, { kind: 'load' }>, reads: readonly Span[]) {
    return crew.lend(async (worker) => {
      this.#holder ??= worker
      if (this.#holder !== worker) throw lost()
      await worker.load(load)
      const { program } = job
      if (this.#wanted > this.#grown) worker.tell({ kind: 'grow', program, pages: this.#wanted - this.#grown })
      this.#grown = this.#wanted
      for (const { address, bytes } of this.#pending.splice(0)) worker.tell({ kind: 'write', program, address, bytes }, [bytes.buffer])
      return worker.run(job, reads)
    })
  }

  /** The thread hears nothing while it works. */
  cancel(): void {}

  #reach(bytes: number): void {
    const pages = Math.ceil(bytes / pageBytes)
    if (pages > mostPages) throw outOfMemory(bytes)
    this.#wanted = Math.max(this.#wanted, pages)
  }
}

function lost(): TinsmithError {
  return new TinsmithError('failed', 'The thread that held the model has ended, and its memory with it', { hint: 'Load the model again.' })
}
