import { type Answer, type Drive, deskAt, type Job, type Request } from './protocol.js'

/** The other end: the page in browsers, the parent thread in Node.js. */
interface Parent {
  postMessage(message: Answer, transfer: ArrayBuffer[]): void
  listen(listener: (request: Request) => void): void
}

interface Loaded {
  readonly memory: WebAssembly.Memory
  readonly drive: Drive
}

/** How often a thread looks at the bell before it sleeps: some tenths of a millisecond, in which one who waited for an answer asks again. */
const looks = 50_000

const programs = new Map<number, Loaded>()
let desk: Int32Array | undefined
let messages = 0
let lastJob = 0

function answer(request: Request): Answer | undefined {
  try {
    if (request.kind === 'load') load(request)
    else if (request.kind === 'run') return run(request, request.reads)
    else if (request.kind === 'start') desk = request.desk
    else if (request.kind === 'drop') programs.delete(request.program)
    else if (request.kind === 'grow') programs.get(request.program)!.memory.grow(request.pages)
    else new Uint8Array(programs.get(request.program)!.memory.buffer).set(request.bytes, request.address)
    return request.kind === 'load' ? { kind: 'loaded' } : undefined
  } catch (error) {
    return failure(error)
  }
}

function failure(error: unknown): Answer {
  return { kind: 'failed', message: error instanceof Error ? error.message : String(error) }
}

function load({ program, module, memory: given, maximum }: Extract<Request, { kind: 'load' }>): void {
  const memory = given ?? new WebAssembly.Memory({ initial: 1, maximum })
  const { exports } = new WebAssembly.Instance(module, { env: { memory } })
  programs.set(program, { memory, drive: exports['drive'] as Drive })
}

function run({ program, list, count, cancel, timed }: Job, reads: Extract<Request, { kind: 'run' }>['reads']): Answer {
  const { memory, drive } = programs.get(program)!
  const milliseconds = timed ? new Float64Array(count) : undefined
  const cancelled = (milliseconds ? driveTimed(drive, list, cancel, milliseconds) : drive(list, count, cancel)) !== 0
  const results = reads.map(({ address, bytes }) => new Uint8Array(memory.buffer, address, bytes).slice())
  return { kind: 'ran', cancelled, results, milliseconds }
}

/** Runs kernels one by one and adds the time of each. */
function driveTimed(drive: Drive, list: number, cancel: number, milliseconds: Float64Array): number {
  for (let i = 0; i < milliseconds.length; i++) {
    const start = performance.now()
    if (drive(list + 8 * i, 1, cancel)) return 1
    milliseconds[i] = performance.now() - start
  }
  return 0
}

/** Does the jobs on the desk until a message is waiting, which only arrives while nobody waits here. */
function serve(shared: Int32Array): void {
  while (Atomics.load(shared, deskAt.messages) === messages) {
    const bell = Atomics.load(shared, deskAt.bell)
    const job = Atomics.load(shared, deskAt.job)
    if (job !== lastJob) {
      lastJob = job
      post(runShared(shared))
    } else if (Atomics.load(shared, deskAt.messages) === messages) rest(shared, bell)
  }
}

function runShared(shared: Int32Array): Answer {
  const [program, list, count, cancel] = [deskAt.program, deskAt.list, deskAt.count, deskAt.cancel].map((at) => shared[at])
  try {
    return run({ program, list, count, cancel }, [])
  } catch (error) {
    return failure(error)
  }
}

/** Waits until the bell differs from what it was: awake for a moment, then asleep. */
function rest(shared: Int32Array, bell: number): void {
  for (let i = 0; i < looks; i++) if (Atomics.load(shared, deskAt.bell) !== bell) return
  Atomics.wait(shared, deskAt.bell, bell)
}

function parent(): Parent {
  const port = globalThis.process?.getBuiltinModule?.('worker_threads').parentPort
  if (port) return { postMessage: (message, moved) => port.postMessage(message, moved), listen: (listener) => port.on('message', listener) }
  return {
    postMessage: (message, transfer) => self.postMessage(message, { transfer }),
    listen: (listener) => self.addEventListener('message', (event) => listener(event.data as Request)),
  }
}

const other = parent()

function post(message: Answer): void {
  other.postMessage(message, message.kind === 'ran' ? message.results.map(({ buffer }) => buffer as ArrayBuffer) : [])
}

other.listen((request) => {
  messages++
  const message = answer(request)
  if (message) post(message)
  if (desk) serve(desk)
})
