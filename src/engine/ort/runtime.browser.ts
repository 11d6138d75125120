import { unsupported } from '../../base/errors.js'
import type { LoadOptions, OnnxModel, Runtime, Session } from '../session.js'
import { WebSession, type WebWorker } from './session.web.js'
import { type Answer, canShare, type Request } from './web-protocol.js'

/** Where a page keeps what onnxruntime-web needs. */
export interface WebPlaces {
  /**
   * Address of `engine/ort/worker.browser.js`, or what starts it. Default: a module worker from beside this file, a form
   * that Vite, webpack, Parcel and Rollup's worker plugin bundle by themselves; with esbuild make it an entry point.
   */
  worker?: string | URL | (() => Worker)
  /**
   * Folder (ending in `/`) of onnxruntime-web's .wasm and .mjs files. Default: beside onnxruntime-web's code, or where
   * the bundler puts them.
   */
  wasm?: string
}

const places: WebPlaces = {}

/** Tells `runtime` where its files are. Sessions that are loaded already keep theirs. */
export function placeWebRuntime(changed: WebPlaces): void {
  Object.assign(places, changed)
}

/**
 * ONNX Runtime as WebAssembly (onnxruntime-web) in browsers; it runs in Node.js too.
 *
 * Each session has a worker of its own, so neither loading nor running blocks the caller, sessions run beside each other
 * and `dispose` gives all memory back (WebAssembly's own never shrinks): after 5 seconds in which its worker waits for the
 * next graph to load, for a new worker takes half a second. The runs of one session follow one another.
 * Feeds are copied for the worker and moved to it, outputs are moved from it: they are in JavaScript's memory at once, and `into` is a
 * copy. Arrays over memory of {@link Runtime.allocate} stay where they are: the worker reads and writes them there. WebAssembly has its
 * memory for itself all the same, so feeds and outputs are copied into it and out of it; `copiedBytes` counts that. Only what
 * `Session.allocate` gives lies in that memory itself, and is not copied.
 *
 * WebAssembly cannot be stopped from outside. An abort rejects the promise at once; a run that does not end within 200 ms
 * after it takes its worker with it, and the next run first loads the graph again. For that the session keeps the model's
 * bytes that it was given (not a copy: do not change them).
 *
 * More than one thread needs a page that is cross-origin isolated (COOP and COEP headers); else there is one. `settings`
 * are ONNX Runtime's session configuration entries. Models come as bytes; `path`, profiles, bfloat16 and float8 are `unsupported`.
 */
export const runtime: Runtime = {
  name: 'ONNX Runtime Web',
  version: '1.30.0',
  target: 'ort-wasm',
  get copiedBytes() {
    return copied
  },
  allocate: (bytes) => (canShare() ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes)),
  load,
}

let copied = 0

async function load(model: OnnxModel, options: LoadOptions = {}): Promise<Session> {
  if ('path' in model) throw unsupported('onnxruntime-web loads no files', { where: model.path, hint: 'Read the file and pass its bytes.' })
  if (options.profile) throw unsupported('onnxruntime-web gives no times of operators', { hint: 'Profile with ONNX Runtime in Node.js.' })
  const { threads = Math.min(8, globalThis.navigator?.hardwareConcurrency ?? 1), optimization, settings } = options
  const place = `${threads} ${places.wasm} ${String(places.worker)}`
  const session = new WebSession(
    () => take(place) ?? start(),
    (worker) => keep(place, worker),
    {
      kind: 'load',
      bytes: model.bytes,
      external: [...(model.external ?? []), ...(model.constants ?? []).map(({ location, bytes }) => [location, bytes] as const)],
      options: { threads, optimization, settings },
      wasm: places.wasm,
    },
    (bytes) => {
      copied += bytes
    },
  )
  await session.load()
  return session
}

/** Milliseconds that the thread of a disposed session waits for another graph: starting one takes half a second. */
const patience = 5000

/** At most one thread without a session, with what it was started for (its number of threads cannot be changed). */
let spare: { readonly place: string; readonly worker: WebWorker; readonly timer: ReturnType<typeof setTimeout> } | undefined

function take(place: string): WebWorker | undefined {
  if (spare?.place !== place) return undefined
  const { worker, timer } = spare
  clearTimeout(timer)
  spare = undefined
  return worker
}

function keep(place: string, worker: WebWorker): void {
  if (spare) {
    worker.end()
    return
  }
  const timer = setTimeout(() => take(place)?.end(), patience) as ReturnType<typeof setTimeout> & { unref?: () => void }
  timer.unref?.()
  worker.listen(
    () => {},
    () => take(place),
  )
  spare = { place, worker, timer }
}

function start(): WebWorker {
  if (typeof Worker === 'undefined') return startInNode()
  const worker = startInPage()
  return {
    post: (request: Request, moved: ArrayBuffer[]) => worker.postMessage(request, moved),
    listen(answered, failed) {
      worker.onmessage = (event: MessageEvent<Answer>) => answered(event.data)
      worker.onerror = (event) => failed(event.message || 'the worker could not be started')
    },
    end: () => worker.terminate(),
    hold: () => {},
  }
}

function startInPage(): Worker {
  if (typeof places.worker === 'function') return places.worker()
  if (places.worker) return new Worker(places.worker, { type: 'module' })
  return new Worker(new URL('./worker.browser.js', import.meta.url), { type: 'module' })
}

function startInNode(): WebWorker {
  const threads = globalThis.process?.getBuiltinModule?.('worker_threads')
  if (!threads || typeof places.worker === 'function') throw unsupported('onnxruntime-web needs workers, which are not to be had here')
  const file = 'worker.browser.js'
  const worker = new threads.Worker(new URL(/* @vite-ignore */ places.worker ?? `./${file}`, import.meta.url))
  return {
    post: (request: Request, moved: ArrayBuffer[]) => worker.postMessage(request, moved),
    listen(answered, failed) {
      worker.removeAllListeners()
      worker.on('message', answered)
      worker.on('error', (error) => failed(String(error)))
      worker.on('exit', () => failed('the worker ended'))
    },
    end: () => void worker.terminate(),
    hold: (busy) => (busy ? worker.ref() : worker.unref()),
  }
}
