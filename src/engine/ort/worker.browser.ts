import type * as Library from 'onnxruntime-web/wasm'
import { TinsmithError, unsupported } from '../../base/errors.js'
import { type DType, dtypes, type Elements, sizeOf } from '../../numbers/dtype.js'
import { decode, encode } from '../../numbers/storage.js'
import type { Port } from '../session.js'
import { hasBytes, WebHeap } from './web-heap.js'
import {
  type Answer,
  canShare,
  inHeap,
  type LoadRequest,
  movable,
  outsideHeap,
  type Ports,
  type Request,
  type RunRequest,
  type SharedHeap,
  type WireArray,
} from './web-protocol.js'

/** The other end: the page in browsers, the parent thread in Node.js. */
interface Parent {
  postMessage(message: Answer, transfer: ArrayBuffer[]): void
  listen(listener: (request: Request) => void): void
}

const threads = globalThis.process?.getBuiltinModule?.('worker_threads')

const levels = { none: 'disabled', basic: 'basic', extended: 'extended', all: 'all' } as const

let library: typeof Library
/** The graph that was loaded last. */
let session: Library.InferenceSession | undefined
/** The library's; undefined before the first graph, where threads may not share it, and where the library does not show it. */
let heap: WebHeap | undefined

/** The build without WebGL and WebGPU, a third of the size; Node.js has its own, which bundlers for pages shall not see. */
async function importLibrary(): Promise<typeof Library> {
  const forNode = 'onnxruntime-web'
  return threads ? await import(/* @vite-ignore */ /* webpackIgnore: true */ forNode) : await import('onnxruntime-web/wasm')
}

async function answer(request: Request): Promise<Answer> {
  try {
    if (request.kind === 'load') return await load(request)
    if (request.kind === 'allocate') return { kind: 'allocated', address: heap!.allocate(request.bytes) }
    const usesHeap = [...request.feeds, ...request.into].some(inHeap)
    return { kind: 'ran', outputs: usesHeap ? heap!.run(request) : await run(request) }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    if (/unsupported data type/i.test(message)) {
      const text = 'The graph has an input or output of a type that onnxruntime-web cannot feed or read'
      return { kind: 'failed', message: `${text} (${message})`, unsupported: true }
    }
    return { kind: 'failed', message, unsupported: error instanceof TinsmithError && error.code === 'unsupported' }
  }
}

async function load({ bytes, external, options, wasm }: LoadRequest): Promise<Answer> {
  library = await importLibrary()
  library.env.logLevel = 'fatal'
  library.env.wasm.proxy = false
  if (wasm) library.env.wasm.wasmPaths = wasm
  if (options.threads) library.env.wasm.numThreads = options.threads
  await session?.release()
  session = undefined
  const create = async () => {
    session = await library.InferenceSession.create(bytes, {
      executionProviders: ['wasm'],
      graphOptimizationLevel: levels[options.optimization ?? 'all'],
      logSeverityLevel: 4,
      externalData: external.map(([path, data]) => ({ path, data })),
      extra: nested(options.settings ?? {}),
    })
  }
  if (heap || !canShare()) await create()
  else heap = await WebHeap.find(create)
  const ports = { inputs: session!.inputMetadata.map(port), outputs: session!.outputMetadata.map(port) }
  return { kind: 'loaded', ports, heap: sharedHeap(ports) }
}

/** The heap for a session with these ports. */
function sharedHeap({ inputs, outputs }: Ports): SharedHeap | undefined {
  const fits = [...inputs, ...outputs].every(({ dtype }) => hasBytes(dtype))
  return heap && fits ? { memory: heap.memory, sums: heap.sums } : undefined
}

/** Session configuration entries as onnxruntime-web wants them: `{ session: { intra_op: ... } }` for `session.intra_op...`. */
function nested(settings: Readonly<Record<string, string>>): Record<string, unknown> {
  const result: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(settings)) {
    const parts = key.split('.')
    const last = parts.pop()!
    let at = result
    for (const part of parts) {
      at[part] ??= {}
      at = at[part] as Record<string, unknown>
    }
    at[last] = value
  }
  return result
}

function port(metadata: Library.InferenceSession.ValueMetadata): Port {
  const where = metadata.name
  if (!metadata.isTensor) throw unsupported(`"${where}" is no tensor; sequences, maps and optional values cannot be fed or read`, { where })
  const dtype = metadata.type as string
  if (!(dtype in dtypes) || dtype === 'bfloat16')
    throw unsupported(`"${where}" is ${dtype}, which onnxruntime-web cannot feed or read`, { where })
  return { name: where, dtype: dtype as DType, shape: metadata.shape.map((dim) => (dim === '' ? '?' : dim)) }
}

async function run({ feeds, outputs, into }: RunRequest): Promise<WireArray[]> {
  const tensors = Object.fromEntries(outsideHeap(feeds).map((feed) => [feed.name, tensorOf(feed)]))
  const results = await session!.run(tensors, outputs)
  return outputs.map((name) => {
    const { type, dims, data } = results[name]
    const result = { name, dtype: type, shape: dims, data: elementsOf(type, dims, data as unknown as Elements) }
    const target = outsideHeap(into).find((array) => array.name === name && array.shape.join() === dims.join())
    if (!target) return result
    ;(target.data as Float32Array).set(result.data as Float32Array)
    return target
  })
}

type AnyTensor = new (type: string, data: unknown, dims: readonly number[]) => Library.Tensor

function tensorOf({ dtype, shape, data }: WireArray): Library.Tensor {
  const Tensor = library.Tensor as unknown as AnyTensor
  if (dtype !== 'float16') return new Tensor(dtype, dtypes[dtype].bits < 8 && dtype !== 'string' ? encode(dtype, data) : data, shape)
  const { buffer, byteOffset, byteLength } = encode(dtype, data)
  return new Tensor(dtype, new Uint16Array(buffer, byteOffset, byteLength / 2), shape)
}

function elementsOf(dtype: DType, shape: readonly number[], data: Elements): Elements {
  if (dtype === 'string' || (dtype !== 'float16' && dtypes[dtype].bits >= 8)) return data
  const { buffer, byteOffset, byteLength } = data as Uint16Array
  return decode(dtype, new Uint8Array(buffer, byteOffset, byteLength), sizeOf(shape))
}

/** Undefined in the threads that the library makes of this file where it is bundled into it. */
function parent(): Parent | undefined {
  if (threads) {
    const port = threads.parentPort
    if (!port || threads.workerData === 'em-pthread') return undefined
    return { postMessage: (message, transfer) => port.postMessage(message, transfer), listen: (listener) => port.on('message', listener) }
  }
  if (self.name === 'em-pthread') return undefined
  return {
    postMessage: (message, transfer) => self.postMessage(message, { transfer }),
    listen: (listener) => self.addEventListener('message', (event) => listener(event.data as Request)),
  }
}

const other = parent()
other?.listen(async (request) => {
  const message = await answer(request)
  other.postMessage(message, message.kind === 'ran' ? movable(message.outputs) : [])
})
