import { TinsmithError, unsupported } from '../../../base/errors.js'
import { type Answer, deskAt, deskWords, type Job, type Request, type Span } from './protocol.js'

/** Where a page keeps what the compiled engine needs. */
export interface WasmPlaces {
  /**
   * Address of `engine/compiled/wasm/worker.js`, or what starts it. Default: a module worker from beside this file, a form
   * that Vite, webpack, Parcel and Rollup's worker plugin bundle by themselves; with esbuild make it an entry point.
   */
  worker?: string | URL | (() => Worker)
}

const places: WasmPlaces = {}

/** Tells where files are. Threads that run already stay. */
export function placeWasmWorker(changed: WasmPlaces): void {
  Object.assign(places, changed)
}

/** A thread that runs worker.ts: a Worker of the browser or of Node.js behind one face. */
interface Thread {
  post(request: Request, moved: ArrayBuffer[]): void
  /** @param failed told when the thread dies of itself */
  listen(answered: (answer: Answer) => void, failed: (reason: string) => void): void
  end(): void
  /** False: the thread alone shall not keep the process alive. */
  hold(busy: boolean): void
}

function start(): Thread {
  if (typeof Worker === 'undefined') return startInNode()
  const worker = startInPage()
  return {
    post: (request, moved) => worker.postMessage(request, moved),
    listen(answered, failed) {
      worker.onmessage = (event: MessageEvent<Answer>) => answered(event.data)
      worker.onerror = (event) => failed(event.message || 'it could not be started')
    },
    end: () => worker.terminate(),
    hold: () => {},
  }
}

function startInPage(): Worker {
  if (typeof places.worker === 'function') return places.worker()
  if (places.worker) return new Worker(places.worker, { type: 'module' })
  return new Worker(new URL('./worker.js', import.meta.url), { type: 'module' })
}

function startInNode(): Thread {
  const threads = globalThis.process?.getBuiltinModule?.('worker_threads')
  if (!threads || typeof places.worker === 'function') throw unsupported('WebAssembly kernels need workers, which are not to be had here')
  const file = 'worker.js'
  const worker = new threads.Worker(new URL(/* @vite-ignore */ places.worker ?? `./${file}`, import.meta.url))
  worker.unref()
  return {
    post: (request, moved) => worker.postMessage(request, moved),
    listen(answered, failed) {
      worker.on('message', answered)
      worker.on('error', (error) => failed(String(error)))
      worker.on('exit', () => failed('it ended'))
    },
    end: () => void worker.terminate(),
    hold: (busy) => (busy ? worker.ref() : worker.unref()),
  }
}

/** Whether threads may share memory here: always in Node.js, in browsers where the page is cross-origin isolated. */
export function canShare(): boolean {
  return typeof SharedArrayBuffer !== 'undefined' && (globalThis.crossOriginIsolated ?? true)
}

/** What a thread gives back of a job. */
export type Outcome = Extract<Answer, { kind: 'ran' }>

interface Waiting {
  resolve(answer: Answer): void
  reject(error: unknown): void
}

/** A thread that does one job after another. */
export class WasmWorker {
  readonly #thread: Thread
  readonly #desk: Int32Array | undefined
  readonly #loaded = new Set<number>()
  #waiting: Waiting | undefined
  #jobs = 0
  dead = false

  constructor() {
    this.#thread = start()
    this.#desk = canShare() ? new Int32Array(new SharedArrayBuffer(4 * deskWords.length)) : undefined
    this.#thread.listen(
      (answer) => this.#waiting?.resolve(answer),
      (reason) => this.#die(reason),
    )
    this.tell({ kind: 'start', desk: this.#desk })
  }

  /** Sends a message; the thread wakes up for it. */
  tell(request: Request, moved: ArrayBuffer[] = []): void {
    if (this.#desk) Atomics.add(this.#desk, deskAt.messages, 1)
    this.#thread.post(request, moved)
    this.#ring()
  }

  /** Loads a program's module, unless that was done. */
  async load(request: Extract<Request, { kind: 'load' }>): Promise<void> {
    if (this.#loaded.has(request.program)) return
    await this.#ask(() => this.tell(request))
    this.#loaded.add(request.program)
  }

  drop(program: number): void {
    if (this.#loaded.delete(program) && !this.dead) this.tell({ kind: 'drop', program })
  }

  /** Does a job; `reads` says what of its memory comes back where that is not shared. */
  async run(job: Job, reads: readonly Span[]): Promise<Outcome> {
    return (await this.#ask(() => this.#start(job, reads))) as Outcome
  }

  #start(job: Job, reads: readonly Span[]): void {
    if (!this.#desk || job.timed) {
      this.tell({ kind: 'run', reads, ...job })
      return
    }
    for (const name of ['program', 'list', 'count', 'cancel'] as const) this.#desk[deskAt[name]] = job[name]
    Atomics.store(this.#desk, deskAt.job, ++this.#jobs)
    this.#ring()
  }

  /** Ends the thread at once; a job that it is at fails. */
  end(): void {
    this.#thread.end()
    this.#die('it was ended')
  }

  #ring(): void {
    if (!this.#desk) return
    Atomics.add(this.#desk, deskAt.bell, 1)
    Atomics.notify(this.#desk, deskAt.bell)
  }

  async #ask(send: () => void): Promise<Answer> {
    if (this.dead) throw ended('it ended before')
    this.#thread.hold(true)
    try {
      const answer = await new Promise<Answer>((resolve, reject) => {
        this.#waiting = { resolve, reject }
        send()
      })
      if (answer.kind === 'failed') throw new TinsmithError('failed', `A WebAssembly kernel failed: ${answer.message}`)
      return answer
    } finally {
      this.#waiting = undefined
      this.#thread.hold(false)
    }
  }

  #die(reason: string): void {
    this.dead = true
    this.#waiting?.reject(ended(reason))
  }
}

function ended(reason: string): TinsmithError {
  return new TinsmithError('failed', `A thread of the WebAssembly kernels stopped: ${reason}`, {
    hint: 'Run again; a new thread takes its place.',
  })
}

/** Gives out members of a fixed number, first come, first served. */
export class Turnstile<Member> {
  readonly #waiting: ((member: Member) => void)[] = []

  constructor(readonly free: Member[] = []) {}

  async take(): Promise<Member> {
    return this.free.pop() ?? new Promise((resolve) => this.#waiting.push(resolve))
  }

  give(member: Member): void {
    const next = this.#waiting.shift()
    if (next) next(member)
    else this.free.push(member)
  }
}

/** Milliseconds that threads wait for another program. */
const patience = 5000

/** The threads of all programs of a process. */
class Crew {
  readonly #idle = new Turnstile<WasmWorker>()
  #all: WasmWorker[] = []
  readonly #users = new Set<number>()
  #timer: ReturnType<typeof setTimeout> | undefined

  /** Makes sure that there are so many threads, for a program. */
  join(program: number, threads: number): void {
    clearTimeout(this.#timer)
    this.#users.add(program)
    while (this.#all.length < threads) this.#add()
  }

  /** Takes a program's code from all threads; without programs, they end after a while. */
  leave(program: number): void {
    for (const worker of this.#all) worker.drop(program)
    this.#users.delete(program)
    if (this.#users.size) return
    this.#timer = setTimeout(() => {
      for (const worker of this.#all.splice(0)) worker.end()
      this.#idle.free.length = 0
    }, patience)
    ;(this.#timer as { unref?: () => void }).unref?.()
  }

  /** Lends an idle thread. One that died meanwhile is replaced. */
  async lend<Result>(work: (worker: WasmWorker) => Promise<Result>): Promise<Result> {
    let worker = await this.#idle.take()
    if (worker.dead) worker = this.#replace(worker)
    try {
      return await work(worker)
    } finally {
      this.#idle.give(worker.dead ? this.#replace(worker) : worker)
    }
  }

  /** How many threads have nothing to do. */
  get idle(): number {
    return this.#idle.free.length
  }

  /** The threads there are. */
  get workers(): readonly WasmWorker[] {
    return this.#all
  }

  #add(): void {
    const worker = new WasmWorker()
    this.#all.push(worker)
    this.#idle.give(worker)
  }

  #replace(dead: WasmWorker): WasmWorker {
    const worker = new WasmWorker()
    this.#all = this.#all.map((one) => (one === dead ? worker : one))
    return worker
  }
}

export const crew = new Crew()
