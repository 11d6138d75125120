import { TinsmithError, throwIfAborted, unsupported, usage } from '../../base/errors.js'
import type { NDArray } from '../../numbers/dtype.js'
import { FlatMemory } from '../compiled/wasm/flat-memory.js'
import { checkFeeds, wantedOutputs } from '../feeds.js'
import { ArrayOutput } from '../outputs.js'
import type { Feeds, OperatorTime, Output, Port, RunOptions, Session } from '../session.js'
import { onAbort } from './abort.js'
import { isOutOfMemory, sentenceOf } from './messages.js'
import {
  type Answer,
  type HeapArray,
  isShared,
  type LoadRequest,
  movable,
  outsideHeap,
  type Ports,
  type Request,
  type WireArray,
} from './web-protocol.js'

/** A thread that runs worker.browser.js: a Worker of the browser or of Node.js behind one face. */
export interface WebWorker {
  /** @param moved memory of the request that goes over to the thread */
  post(request: Request, moved: ArrayBuffer[]): void
  /**
   * Replaces earlier listeners.
   *
   * @param failed told once when the thread dies of itself
   */
  listen(answered: (answer: Answer) => void, failed: (reason: string) => void): void
  /** Ends the thread at once, whatever it is doing. */
  end(): void
  /** False: the thread alone shall not keep the process alive. */
  hold(busy: boolean): void
}

/** Milliseconds that a run whose caller has gone may take to end before its worker is ended. */
const grace = 200

interface Job {
  /** Its caller has given up. */
  gone: boolean
  readonly request: Request
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
}

/** A session of onnxruntime-web in a worker of its own. */
export class WebSession implements Session {
  readonly engine = 'ort-wasm'
  private ports: Ports = { inputs: [], outputs: [] }
  private worker: WebWorker | undefined
  private receive: ((answer: Answer) => void) | undefined
  private readonly queue: Job[] = []
  private working = false
  private current: Job | undefined
  private idle: (() => void)[] = []
  private closing: Promise<void> | undefined
  /** The heap of the worker's WebAssembly, where it may be shared. */
  private heap: FlatMemory | undefined
  /** Whether arrays of somebody's lie in the heap. */
  private lends = false

  /**
   * @param start a thread, new or without a session
   * @param keep takes over a sound thread when the session is disposed
   * @param request loads the graph; kept, for a thread that was ended is built anew from it
   * @param copied told the bytes of the feeds and outputs of each run
   */
  constructor(
    private readonly start: () => WebWorker,
    private readonly keep: (worker: WebWorker) => void,
    private readonly request: LoadRequest,
    private readonly copied: (bytes: number) => void = () => {},
  ) {}

  get inputs(): readonly Port[] {
    return this.ports.inputs
  }

  get outputs(): readonly Port[] {
    return this.ports.outputs
  }

  /** Starts the worker and loads the graph in it. */
  async load(): Promise<void> {
    const worker = this.start()
    this.worker = worker
    worker.listen(
      (answer) => this.receive?.(answer),
      (reason) => {
        if (this.worker !== worker) return
        this.worker = undefined
        this.receive?.({ kind: 'failed', message: reason, unsupported: false })
      },
    )
    const answer = await this.ask(worker, this.request)
    if (answer.kind === 'loaded') {
      const { ports, heap } = answer
      this.ports = ports
      this.heap = heap && new FlatMemory(heap.memory, heap.sums)
      this.lends = false
    } else {
      this.endWorker()
      if (answer.kind === 'failed') throw failed('onnxruntime-web cannot load the graph', answer, 'bad-input')
    }
  }

  async run(feeds: Feeds, options: RunOptions = {}): Promise<Record<string, Output>> {
    if (this.closing) throw usage('The session was disposed')
    const { signal, into = {} } = options
    throwIfAborted(signal)
    checkFeeds(this.inputs, feeds)
    const wanted = wantedOutputs(this.outputs, options)
    const arrays = this.inputs.map(({ name }): WireArray => ({ name, ...wire(feeds[name]) }))
    const shared = Object.entries(into).flatMap(([name, array]) => (isShared(array.data) ? [{ name, ...wire(array) }] : []))
    const names = wanted.map((port) => port.name)
    const answer = await this.enqueue({ kind: 'run', feeds: arrays, outputs: names, into: shared }, signal)
    const results = new Map(answer.kind === 'ran' ? answer.outputs.map((result) => [result.name, result]) : [])
    const outputs: Record<string, Output> = {}
    for (const name of names) {
      const [target, result] = [Object.hasOwn(into, name) ? into[name] : undefined, results.get(name)]
      outputs[name] = new ArrayOutput(target && result ? copyInto(target, result) : (result ?? target!))
    }
    return outputs
  }

  /** In the heap of the worker's WebAssembly; undefined where threads may not share it. */
  async allocate(elements: number): Promise<Float32Array | undefined> {
    if (this.closing) throw usage('The session was disposed')
    if (!this.heap) return undefined
    const answer = await this.enqueue({ kind: 'allocate', bytes: elements * Float32Array.BYTES_PER_ELEMENT }, undefined)
    if (answer.kind !== 'allocated' || !answer.address) return undefined
    this.lends = true
    return this.heap.array(answer.address, elements).fill(0)
  }

  /** Always throws `unsupported`: onnxruntime-web keeps its profile inside WebAssembly's file system. */
  async profile(): Promise<OperatorTime[]> {
    throw unsupported('onnxruntime-web gives no times of operators', { hint: 'Profile with ONNX Runtime in Node.js.' })
  }

  /** Waits for runs in flight, then lets the worker go. */
  dispose(): Promise<void> {
    this.closing ??= (async () => {
      while (this.working) await new Promise<void>((resolve) => this.idle.push(resolve))
      const { worker } = this
      this.worker = undefined
      if (this.lends) worker?.end()
      else if (worker) this.keep(worker)
    })()
    return this.closing
  }

  private enqueue(request: Request, signal: AbortSignal | undefined): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const job: Job = {
        gone: false,
        request,
        resolve(answer) {
          stop()
          resolve(answer)
        },
        reject(error) {
          stop()
          reject(error)
        },
      }
      const stop = onAbort(signal, () => this.abandon(job, signal?.reason))
      this.queue.push(job)
      if (!this.working) void this.work()
    })
  }

  /** Runs jobs one after another: a worker's WebAssembly does one thing at a time. */
  private async work(): Promise<void> {
    this.working = true
    for (let job = this.queue.shift(); job; job = this.queue.shift()) {
      try {
        if (!this.worker) await this.load()
        // An abort may have come while the worker was built anew.
        if (!job.gone && this.worker) {
          this.current = job
          const request = this.placed(job.request)
          const fed = request.kind === 'run' ? bytesOf(outsideHeap(request.feeds)) : 0
          const answer = await this.ask(this.worker, request)
          if (answer.kind === 'ran') this.copied(fed + bytesOf(answer.outputs))
          if (answer.kind === 'failed') job.reject(failed('The graph failed in onnxruntime-web', answer, 'failed'))
          else job.resolve(answer)
        }
      } catch (error) {
        job.reject(error)
      }
      this.current = undefined
    }
    this.working = false
    for (const tell of this.idle.splice(0)) tell()
  }

  /** A request for the worker that is there now: arrays in its heap are named by their addresses. */
  private placed(request: Request): Request {
    if (request.kind !== 'run') return request
    const place = (array: WireArray): WireArray | HeapArray => {
      const { name, dtype, shape, data } = array
      if (!this.heap || dtype !== 'float32' || Array.isArray(data) || FlatMemory.of([data]) !== this.heap) return array
      return { name, dtype, shape, address: data.byteOffset }
    }
    return { ...request, feeds: outsideHeap(request.feeds).map(place), into: outsideHeap(request.into).map(place) }
  }

  private abandon(job: Job, cause: unknown): void {
    job.gone = true
    job.reject(new TinsmithError('interrupted', 'Interrupted', { cause }))
    const place = this.queue.indexOf(job)
    if (place >= 0) this.queue.splice(place, 1)
    if (this.current !== job) return
    setTimeout(() => {
      if (this.current !== job) return
      this.endWorker()
      this.receive?.({ kind: 'failed', message: 'abandoned', unsupported: false })
    }, grace)
  }

  private ask(worker: WebWorker, request: Request): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.receive = (answer) => {
        this.receive = undefined
        worker.hold(false)
        resolve(answer)
      }
      worker.hold(true)
      try {
        worker.post(request, request.kind === 'run' ? movable(request.feeds) : [])
      } catch (error) {
        this.receive = undefined
        worker.hold(false)
        reject(error)
      }
    })
  }

  private endWorker(): void {
    this.worker?.end()
    this.worker = undefined
  }
}

/** Without getters. What threads do not share is copied here, once, and the copy is moved. */
function wire({ dtype, shape, data }: NDArray): Omit<WireArray, 'name'> {
  return { dtype, shape: [...shape], data: Array.isArray(data) || isShared(data) ? data : data.slice() }
}

/** Strings count nothing. */
function bytesOf(arrays: readonly WireArray[]): number {
  return arrays.reduce((sum, { data }) => sum + (Array.isArray(data) ? 0 : data.byteLength), 0)
}

function copyInto(target: NDArray, { name, shape, data }: WireArray): NDArray {
  if (shape.join() !== target.shape.join()) {
    const shapes = `[${target.shape.join(', ')}], but the run gave [${shape.join(', ')}]`
    throw new TinsmithError('failed', `The memory for output "${name}" has the shape ${shapes}`, { where: name })
  }
  if (isShared(data)) return target
  if (Array.isArray(data)) for (let i = 0; i < data.length; i++) (target.data as string[])[i] = data[i]
  else (target.data as Float32Array).set(data as Float32Array)
  return target
}

function failed(what: string, { message, unsupported: no }: Extract<Answer, { kind: 'failed' }>, otherwise: 'bad-input' | 'failed') {
  if (no) return unsupported(message)
  const reason = sentenceOf(message)
  return new TinsmithError(isOutOfMemory(reason) ? 'out-of-memory' : otherwise, `${what}: ${reason}`)
}
