import type { DType, Elements } from '../../numbers/dtype.js'
import type { LoadOptions, Port } from '../session.js'

/** An array on its way between threads. */
export interface WireArray {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly data: Elements
}

/** What a session asks of its worker: once `load`, then `run` any number of times, one after another. */
export type Request =
  | {
      readonly kind: 'load'
      readonly bytes: Uint8Array
      readonly external: readonly (readonly [string, Uint8Array])[]
      readonly options: LoadOptions
      /** Where the .wasm and .mjs files of onnxruntime-web are, if not beside its code. */
      readonly wasm: string | undefined
    }
  | {
      readonly kind: 'run'
      readonly feeds: readonly WireArray[]
      readonly outputs: readonly string[]
      /** Shared memory that outputs are written to; their answers hold it. */
      readonly into: readonly WireArray[]
    }

/** Ports as the library tells them; types that we have no name for are kept for the error message. */
export interface Ports {
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
}

/** A worker's answer. */
export type Answer =
  | { readonly kind: 'loaded'; readonly ports: Ports }
  | { readonly kind: 'ran'; readonly outputs: readonly WireArray[] }
  | { readonly kind: 'failed'; readonly message: string; readonly unsupported: boolean }

/** Whether threads may share memory: pages must be cross-origin isolated for it. */
export function canShare(): boolean {
  return typeof SharedArrayBuffer !== 'undefined' && globalThis.crossOriginIsolated !== false
}

/** Whether an array lies in memory that threads share. */
export function isShared(data: Elements): boolean {
  return canShare() && !Array.isArray(data) && data.buffer instanceof SharedArrayBuffer
}

/** The memory of arrays that can be moved to another thread. */
export function movable(arrays: readonly WireArray[]): ArrayBuffer[] {
  const buffers = arrays.flatMap(({ data }) => (Array.isArray(data) || isShared(data) ? [] : [data.buffer as ArrayBuffer]))
  return [...new Set(buffers)]
}
