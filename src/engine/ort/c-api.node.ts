import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import koffi from 'koffi'
import { type ErrorCode, TinsmithError, unsupported } from '../../base/errors.js'
import { native } from '../koffi.node.js'
import { onAbort } from './abort.js'
import { isOutOfMemory, sentenceOf } from './messages.js'

/** Address of something that ONNX Runtime owns or reads. */
export type Pointer = bigint

/** What a C function that can fail returns: null for success, else an OrtStatus that must be released. */
export type Status = Pointer | null

/** A file name: UTF-16 on Windows, UTF-8 elsewhere. */
const path = process.platform === 'win32' ? 'str16' : 'str'
const strings = (type: string) => koffi.pointer(koffi.pointer(type === 'str' ? 'char' : 'char16_t'))

/**
 * The entries of struct OrtApi that are needed: place in the table, result, arguments. Entries are never moved or
 * removed between versions. Source: onnxruntime_c_api.h; places up to 414, which came with version 1.24.
 */
const table = {
  CreateStatus: [0, 'void *', ['int', 'str']],
  GetErrorCode: [1, 'int', ['void *']],
  GetErrorMessage: [2, 'str', ['void *']],
  CreateEnv: [3, 'void *', ['int', 'str', 'void *']],
  CreateSession: [7, 'void *', ['void *', path, 'void *', 'void *']],
  CreateSessionFromArray: [8, 'void *', ['void *', 'void *', 'size_t', 'void *', 'void *']],
  Run: [9, 'void *', ['void *', 'void *', 'void *', 'void *', 'size_t', 'void *', 'size_t', 'void *']],
  CreateSessionOptions: [10, 'void *', ['void *']],
  EnableProfiling: [14, 'void *', ['void *', path]],
  DisableMemPattern: [17, 'void *', ['void *']],
  SetSessionGraphOptimizationLevel: [23, 'void *', ['void *', 'int']],
  SetIntraOpNumThreads: [24, 'void *', ['void *', 'int']],
  CreateCustomOpDomain: [26, 'void *', ['str', 'void *']],
  CustomOpDomain_Add: [27, 'void *', ['void *', 'void *']],
  AddCustomOpDomain: [28, 'void *', ['void *', 'void *']],
  SessionGetInputCount: [30, 'void *', ['void *', 'void *']],
  SessionGetOutputCount: [31, 'void *', ['void *', 'void *']],
  SessionGetInputTypeInfo: [33, 'void *', ['void *', 'size_t', 'void *']],
  SessionGetOutputTypeInfo: [34, 'void *', ['void *', 'size_t', 'void *']],
  SessionGetInputName: [36, 'void *', ['void *', 'size_t', 'void *', 'void *']],
  SessionGetOutputName: [37, 'void *', ['void *', 'size_t', 'void *', 'void *']],
  CreateRunOptions: [39, 'void *', ['void *']],
  RunOptionsSetTerminate: [46, 'void *', ['void *']],
  CreateTensorAsOrtValue: [48, 'void *', ['void *', 'void *', 'size_t', 'int', 'void *']],
  CreateTensorWithDataAsOrtValue: [49, 'void *', ['void *', 'void *', 'size_t', 'void *', 'size_t', 'int', 'void *']],
  IsTensor: [50, 'void *', ['void *', 'void *']],
  GetTensorMutableData: [51, 'void *', ['void *', 'void *']],
  FillStringTensor: [52, 'void *', ['void *', strings('str'), 'size_t']],
  GetStringTensorDataLength: [53, 'void *', ['void *', 'void *']],
  GetStringTensorContent: [54, 'void *', ['void *', 'void *', 'size_t', 'void *', 'size_t']],
  CastTypeInfoToTensorInfo: [55, 'void *', ['void *', 'void *']],
  GetTensorElementType: [60, 'void *', ['void *', 'void *']],
  GetDimensionsCount: [61, 'void *', ['void *', 'void *']],
  GetDimensions: [62, 'void *', ['void *', 'void *', 'size_t']],
  GetSymbolicDimensions: [63, 'void *', ['void *', 'void *', 'size_t']],
  CreateCpuMemoryInfo: [69, 'void *', ['int', 'int', 'void *']],
  AllocatorFree: [76, 'void *', ['void *', 'void *']],
  GetAllocatorWithDefaultOptions: [78, 'void *', ['void *']],
  KernelContext_GetInput: [90, 'void *', ['void *', 'size_t', 'void *']],
  KernelContext_GetOutput: [91, 'void *', ['void *', 'size_t', 'void *', 'size_t', 'void *']],
  ReleaseStatus: [93, 'void', ['void *']],
  ReleaseSession: [95, 'void', ['void *']],
  ReleaseValue: [96, 'void', ['void *']],
  ReleaseRunOptions: [97, 'void', ['void *']],
  ReleaseTypeInfo: [98, 'void', ['void *']],
  ReleaseSessionOptions: [100, 'void', ['void *']],
  SessionEndProfiling: [110, 'void *', ['void *', 'void *', 'void *']],
  AddSessionConfigEntry: [130, 'void *', ['void *', 'str', 'str']],
  AddExternalInitializers: [210, 'void *', ['void *', strings('str'), 'void *', 'size_t']],
  KernelContext_ParallelFor: [274, 'void *', ['void *', 'void *', 'size_t', 'size_t', 'void *']],
  AddExternalInitializersFromFilesInMemory: [279, 'void *', ['void *', strings(path), 'void *', 'void *', 'size_t']],
  GetTensorElementTypeAndShapeDataReference: [414, 'void *', ['void *', 'void *', 'void *', 'void *']],
} as const

/** The lowest version of the C API that has all of them. */
export const apiVersion = 24

type Argument = Pointer | number | string | null | ArrayBufferView | readonly string[]
type Result<R extends string> = R extends 'void *' ? Status : R extends 'int' ? number : R extends 'str' ? string : undefined
type Native<R extends string> = ((...args: Argument[]) => Result<R>) & {
  async(...args: [...Argument[], (error: unknown, result: Result<R>) => void]): void
}

/** The C functions by their names. Arguments are as in the header; memory that one keeps must be kept by the caller. */
export type Api = { readonly [K in keyof typeof table]: Native<(typeof table)[K][1]> }

/** Addresses of the C functions. */
export type Addresses = { readonly [K in keyof typeof table]: Pointer }

/** The loaded library and what all sessions share. */
export interface Library {
  readonly api: Api
  /** Where the C functions are, for code that calls them itself. */
  readonly addresses: Addresses
  readonly version: string
  /** Held because koffi unloads a library whose handle is collected, in spite of functions from its tables. */
  readonly handle: unknown
  /** OrtEnv. Lives as long as the process. */
  readonly env: Pointer
  /** OrtMemoryInfo of the processor's own memory. */
  readonly memory: Pointer
  /** The default OrtAllocator. */
  readonly allocator: Pointer
}

let library: Library | undefined

/**
 * Loads the library on first use.
 *
 * @throws TinsmithError `unsupported` where onnxruntime-node has no library for this platform
 */
export function ort(): Library {
  library ??= load()
  return library
}

function load(): Library {
  const file = libraryPath()
  let handle: ReturnType<typeof koffi.load>
  let getApi: (version: number) => Pointer | null
  let version: string
  try {
    handle = native().load(file)
    const base = handle.func('OrtGetApiBase', 'void *', [])() as Pointer
    getApi = koffi.decode(koffi.decode(base, 0, 'void *'), koffi.proto('void *', ['uint32_t'])) as typeof getApi
    version = (koffi.decode(koffi.decode(base, 8, 'void *'), koffi.proto('str', [])) as () => string)()
  } catch (cause) {
    throw unsupported('The library of onnxruntime-node cannot be loaded on this machine', { where: file, hint: reason(cause), cause })
  }
  const struct = getApi(apiVersion)
  if (!struct) throw unsupported(`onnxruntime-node ${version} is too old`, { where: file, hint: 'Install 1.24 or newer.' })
  const functions: Record<string, unknown> = {}
  const addresses: Record<string, Pointer> = {}
  for (const [name, [place, result, parameters]] of Object.entries(table)) {
    addresses[name] = koffi.decode(struct, 8 * place, 'void *')
    functions[name] = koffi.decode(addresses[name], koffi.proto(result, [...parameters]))
  }
  const api = functions as unknown as Api
  return {
    api,
    addresses: addresses as unknown as Addresses,
    version,
    handle,
    // Failures come back as statuses, so nothing below "fatal" (4) goes to stderr.
    env: made(api, (out) => api.CreateEnv(4, 'tinsmith', out)),
    // OrtDeviceAllocator, OrtMemTypeDefault
    memory: made(api, (out) => api.CreateCpuMemoryInfo(0, 0, out)),
    allocator: made(api, (out) => api.GetAllocatorWithDefaultOptions(out)),
  }
}

function libraryPath(): string {
  const { platform, arch } = process
  const names: Record<string, string> = { linux: 'libonnxruntime.so.1', darwin: 'libonnxruntime.1.dylib', win32: 'onnxruntime.dll' }
  const name = names[platform]
  try {
    if (name) return createRequire(import.meta.url).resolve(`onnxruntime-node/bin/napi-v6/${platform}/${arch}/${name}`)
  } catch {
    // Told below.
  }
  const root = (() => {
    try {
      return dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'))
    } catch {
      return undefined
    }
  })()
  if (!root) throw unsupported('The package onnxruntime-node is not installed', { hint: 'Run "npm install onnxruntime-node".' })
  throw unsupported(`onnxruntime-node has no library for ${platform} on ${arch}`, { where: join(root, 'bin') })
}

function made(api: Api, create: (out: BigUint64Array) => Status): Pointer {
  const out = new BigUint64Array(1)
  const status = create(out)
  if (status) throw takeStatus(api, status)
  return out[0]
}

/** What ONNX Runtime said and its OrtErrorCode; never leaves this folder. */
export class OrtError extends Error {
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message)
  }
}

function takeStatus(api: Api, status: Pointer): OrtError {
  const error = new OrtError(api.GetErrorCode(status), api.GetErrorMessage(status))
  api.ReleaseStatus(status)
  return error
}

/** Throws an OrtError, and frees the status, where a call failed. */
export function check(status: Status): void {
  if (status) throw takeStatus(ort().api, status)
}

/** Calls a function that writes a pointer (or a size) to its last argument, and returns that. */
export function receive(call: (out: BigUint64Array) => Status): Pointer {
  const out = new BigUint64Array(1)
  check(call(out))
  return out[0]
}

/** Copies a C string that ONNX Runtime allocated, and frees it. */
export function takeString(pointer: Pointer): string {
  const text = koffi.decode.string(pointer)
  check(ort().api.AllocatorFree(ort().allocator, pointer))
  return text
}

/**
 * ONNX Runtime's failure as one sentence, see `sentenceOf`; other errors are given back as they are.
 *
 * @param what begins the sentence ("ONNX Runtime cannot load the graph")
 * @param otherwise the code where ONNX Runtime's own says no more than that it failed
 */
export function failure(error: unknown, what: string, otherwise: ErrorCode, where?: string): unknown {
  if (!(error instanceof OrtError)) return error
  const reason = sentenceOf(error.message)
  // OrtErrorCode: 3 no such file, 7 invalid protobuf, 9 not implemented, 10 invalid graph
  const codes: Record<number, ErrorCode> = { 3: 'bad-input', 7: 'bad-input', 9: 'unsupported', 10: 'bad-input' }
  const code = isOutOfMemory(reason) ? 'out-of-memory' : (codes[error.code] ?? otherwise)
  return new TinsmithError(code, `${what}: ${reason}`, { where, cause: error })
}

function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}

const threads = Number(process.env['UV_THREADPOOL_SIZE']) || 4
const seats = Math.max(1, threads - 1)
let taken = 0
const queue: (() => void)[] = []

/**
 * Runs a C function on a worker thread (one of libuv's), so that JavaScript goes on. One thread of the pool is left
 * free for files and DNS: further calls wait for a seat, first come, first served.
 *
 * The caller keeps all memory that the call uses until the promise settles.
 *
 * @param signal leaves the queue when it fires: the promise rejects with `interrupted` and nothing is called
 */
export async function inBackground<R>(call: (done: (error: unknown, result: R) => void) => void, signal?: AbortSignal): Promise<R> {
  if (taken >= seats) await seat(signal)
  else taken++
  try {
    return await new Promise<R>((resolve, reject) => call((error, result) => (error ? reject(error) : resolve(result))))
  } finally {
    const next = queue.shift()
    if (next) next()
    else taken--
  }
}

function seat(signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const enter = () => {
      stop()
      resolve()
    }
    const stop = onAbort(signal, () => {
      queue.splice(queue.indexOf(enter), 1)
      reject(new TinsmithError('interrupted', 'Interrupted', { cause: signal?.reason }))
    })
    queue.push(enter)
  })
}
