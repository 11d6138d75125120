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
  | { readonly kind: 'run'; readonly feeds: readonly WireArray[]; readonly outputs: readonly string[] }

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
