import { TinsmithError, throwIfAborted, unsupported, usage } from '../../base/errors.js'
import type { NDArray } from '../../numbers/dtype.js'
import { checkFeeds, wantedOutputs } from '../feeds.js'
import { ArrayOutput } from '../outputs.js'
import type { Feeds, OperatorTime, Output, Port, RunOptions, Session } from '../session.js'
import { onAbort } from './abort.js'
import { isOutOfMemory, sentenceOf } from './messages.js'
import { type Answer, isShared, movable, type Ports, type Request, type WireArray } from './web-protocol.js'

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
  readonly request: Extract<Request, { kind: 'run' }>
  readonly resolve: (outputs: readonly WireArray[]) => void
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

  /**
   * @param start a thread, new or without a session
   * @param keep takes over a sound thread when the session is disposed
   * @param request loads the graph; kept, for a thread that was ended is built anew from it
   * @param copied told the bytes of the feeds and outputs of each run
   */
  constructor(
    private readonly start: () => WebWorker,
    private readonly keep: (worker: WebWorker) => void,
    private readonly request: Extract<Request, { kind: 'load' }>,
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
    if (answer.kind === 'loaded') this.ports = answer.ports
    else {
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
    const results = await this.enqueue({ kind: 'run', feeds: arrays, outputs: wanted.map((port) => port.name), into: shared }, signal)
    this.copied(bytesOf(arrays) + bytesOf(results))
    const outputs: Record<string, Output> = {}
    for (const result of results) {
      const target = Object.hasOwn(into, result.name) ? into[result.name] : undefined
      outputs[result.name] = new ArrayOutput(target ? copyInto(target, result) : result)
    }
    return outputs
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
      if (worker) this.keep(worker)
    })()
    return this.closing
  }

  private enqueue(request: Job['request'], signal: AbortSignal | undefined): Promise<readonly WireArray[]> {
    return new Promise((resolve, reject) => {
      const job: Job = {
        gone: false,
        request,
        resolve(outputs) {
          stop()
          resolve(outputs)
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
          const answer = await this.ask(this.worker, job.request)
          if (answer.kind === 'ran') job.resolve(answer.outputs)
          else if (answer.kind === 'failed') job.reject(failed('The graph failed in onnxruntime-web', answer, 'failed'))
        }
      } catch (error) {
        job.reject(error)
      }
      this.current = undefined
    }
    this.working = false
    for (const tell of this.idle.splice(0)) tell()
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
