import type { DType, Elements } from '../../numbers/dtype.js'
import type { LoadOptions, Port } from '../session.js'

/** An array on its way between threads. */
export interface WireArray {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly data: Elements
}

/** An array in the heap of the worker's WebAssembly. */
export interface HeapArray {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly address: number
}

/** A graph to load. */
export interface LoadRequest {
  readonly kind: 'load'
  readonly bytes: Uint8Array
  readonly external: readonly (readonly [string, Uint8Array])[]
  readonly options: LoadOptions
  /** Where the .wasm and .mjs files of onnxruntime-web are, if not beside its code. */
  readonly wasm: string | undefined
}

/** A run of the graph that was loaded last. */
export interface RunRequest {
  readonly kind: 'run'
  readonly feeds: readonly (WireArray | HeapArray)[]
  readonly outputs: readonly string[]
  /** Memory that outputs are written to: shared, then their answers hold it, or in the heap, then there is no answer for them. */
  readonly into: readonly (WireArray | HeapArray)[]
}

/** Memory in the heap that stays the caller's. */
export interface AllocateRequest {
  readonly kind: 'allocate'
  readonly bytes: number
}

/** What a session asks of its worker: once `load`, then the others any number of times, one after another. */
export type Request = LoadRequest | RunRequest | AllocateRequest

/** Ports as the library tells them; types that we have no name for are kept for the error message. */
export interface Ports {
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
}

/** The heap of a worker's WebAssembly, where threads may share it. */
export interface SharedHeap {
  readonly memory: WebAssembly.Memory
  /** Address of `sumBytes` bytes for a {@link FlatMemory}. */
  readonly sums: number
}

/** A worker's answer. */
export type Answer =
  | { readonly kind: 'loaded'; readonly ports: Ports; readonly heap: SharedHeap | undefined }
  | { readonly kind: 'ran'; readonly outputs: readonly WireArray[] }
  /** Address 0: there is no room. */
  | { readonly kind: 'allocated'; readonly address: number }
  | { readonly kind: 'failed'; readonly message: string; readonly unsupported: boolean }

/** Whether threads may share memory: pages must be cross-origin isolated for it. */
export function canShare(): boolean {
  return typeof SharedArrayBuffer !== 'undefined' && globalThis.crossOriginIsolated !== false
}

/** Whether an array lies in memory that threads share. */
export function isShared(data: Elements): boolean {
  return canShare() && !Array.isArray(data) && data.buffer instanceof SharedArrayBuffer
}

export function inHeap(array: WireArray | HeapArray): array is HeapArray {
  return 'address' in array
}

export function outsideHeap(arrays: readonly (WireArray | HeapArray)[]): WireArray[] {
  return arrays.filter((array): array is WireArray => !inHeap(array))
}

/** The memory of arrays that can be moved to another thread. */
export function movable(arrays: readonly (WireArray | HeapArray)[]): ArrayBuffer[] {
  const buffers = outsideHeap(arrays).flatMap(({ data }) => (Array.isArray(data) || isShared(data) ? [] : [data.buffer as ArrayBuffer]))
  return [...new Set(buffers)]
}
