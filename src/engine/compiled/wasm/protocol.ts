/** Words of the array that a thread shares with its owner; it waits on the first. */
export const deskWords = ['bell', 'messages', 'job', 'program', 'list', 'count', 'cancel'] as const

export type DeskWord = (typeof deskWords)[number]

/** The place of a word. */
export const deskAt = Object.fromEntries(deskWords.map((name, i) => [name, i])) as Readonly<Record<DeskWord, number>>

/** What the exported function of a module is: walks a list of kernels; 1 where the cancel word stopped it. */
export type Drive = (list: number, count: number, cancel: number) => number

/** A list of kernels to run in a program's memory. */
export interface Job {
  readonly program: number
  readonly list: number
  readonly count: number
  readonly cancel: number
  /** Take the time of each kernel. */
  readonly timed?: boolean
}

/** What a thread is told. */
export type Request =
  /** Comes first. Without a desk, jobs come as messages. */
  | { readonly kind: 'start'; readonly desk: Int32Array | undefined }
  /** Without a memory, the thread makes one of its own. */
  | {
      readonly kind: 'load'
      readonly program: number
      readonly module: WebAssembly.Module
      readonly memory: WebAssembly.Memory | undefined
      readonly maximum: number
    }
  | { readonly kind: 'drop'; readonly program: number }
  | { readonly kind: 'grow'; readonly program: number; readonly pages: number }
  | { readonly kind: 'write'; readonly program: number; readonly address: number; readonly bytes: Uint8Array }
  | ({ readonly kind: 'run'; readonly reads: readonly Span[] } & Job)

export interface Span {
  readonly address: number
  readonly bytes: number
}

/** What a thread answers to `load` and to jobs. */
export type Answer =
  | { readonly kind: 'loaded' }
  | {
      readonly kind: 'ran'
      readonly cancelled: boolean
      readonly results: readonly Uint8Array[]
      /** Of each kernel, where times were taken. */
      readonly milliseconds: Float64Array | undefined
    }
  | { readonly kind: 'failed'; readonly message: string }
