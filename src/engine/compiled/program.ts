import { type Buffer, type RowKind, rowBytes, type Step, type StepKind, type StepOf, type TokenNumbers, type View } from './plan/steps.js'

/**
 * A word of the block of parameters that a kernel is called with; what a run decides about is filled in before each run.
 *
 * - a number: itself; `float`: the bits of a float32
 * - `address`: of the first element of a view, or of the numbers (int32, one for each token) or images (float32) of an input
 * - `stride`: bytes from one row of the view to the next
 * - `rows`: how many there are in this run; of tokens, behind the step `keep` in runs that keep last tokens only, as many as sequences;
 *   `kept`: the number of sequences in such runs, 0 in others
 * - `constant`: the address of memory that is filled at load and only read, or `from` bytes behind it; the same array is held once
 * - `scratch`: the address of that many bytes, of this thread alone, with undefined content; with `per`, that many for each row of a kind, and
 *   `beyond` more for all of them;
 *   the same object stands for the same memory in all kernels of a step; `shared` when a kernel's shares write to different places of it
 * - `sequences`: the address of the run's table of sequences (`sequenceWords`)
 * - `cache`: how far the keys or values of one of its layers lie behind the start of a sequence's cache, in bytes for each token of its capacity
 */
export type Word =
  | number
  | { readonly float: number }
  | { readonly address: View | TokenNumbers | { readonly image: string } }
  | { readonly stride: View }
  | { readonly rows: RowKind | 'kept' }
  | { readonly constant: ArrayBufferView; readonly from?: number }
  | { readonly scratch: number; readonly per?: RowKind; readonly beyond?: number; readonly shared?: true }
  | { readonly sequences: true }
  | { readonly cache: { readonly layer: number; readonly part: 'keys' | 'values' } }

/**
 * What the table of sequences says of each, in words of the kernel's width: its first row and number of rows among the tokens of the run,
 * the number of tokens that lie in its cache already, the cache's address (0 without), and the number of tokens that it has room for.
 *
 * A cache holds, for each attention with a cache, keys and then values [capacity, key value heads * head size] in float32, token by token; or as int8
 * codes, and behind those of the keys, or of the values, their scales [key value heads, capacity] in float32. Kernels may read 64 bytes beyond its end.
 */
export const sequenceWords = ['first', 'rows', 'past', 'cache', 'capacity'] as const

/**
 * The kernel of a step: code, and what it is called with. One that asks for `rows`, and neither for `sequences` nor for the number of rows that
 * are `kept`, treats every row by itself: it may be called for some of them, by words that count and address those.
 */
export interface StepKernel<Code> {
  /** Equal keys stand for equal code. */
  readonly key: string
  code(): Code
  readonly words: readonly Word[]
  /**
   * The words for one of several threads that share the work of all rows: shares write to different places, and need nothing of each other.
   * Null where there is nothing to do for one of them.
   */
  split?(part: number, parts: number): readonly Word[] | null
}

/** The kernels of a step, in the order in which they are called; tensors are read for it. */
export type StepKernels<Code> = readonly StepKernel<Code>[] | Promise<readonly StepKernel<Code>[]>

/** Kernels for every kind of step: the compiler says which is missing. */
export type KernelRules<Code, Context> = {
  readonly [K in StepKind]: (step: StepOf<K>, context: Context) => StepKernels<Code>
}

/** Chooses the rule for a step. */
export function kernelsOf<Code, Context>(rules: KernelRules<Code, Context>, step: Step, context: Context): StepKernels<Code> {
  const rule = rules[step.kind] as (step: Step, context: Context) => StepKernels<Code>
  return rule(step, context)
}

/** Where buffers lie in an arena: bytes for each row before them, so that they move together when there are more rows. */
export interface MemoryPlan {
  /** Bytes of the arena for each row of a kind. */
  readonly bytes: Readonly<Record<RowKind, number>>
  readonly offsets: ReadonlyMap<Buffer, number>
}

/** The offset of a view in an arena for these numbers of rows: buffers of tokens first, those of sequences behind them. */
export function viewOffset({ bytes, offsets }: MemoryPlan, { buffer, column }: View, rows: Readonly<Record<RowKind, number>>): number {
  const start = buffer.per === 'token' ? 0 : bytes.token * rows.token
  return start + offsets.get(buffer)! * rows[buffer.per] + column * (buffer.dtype === 'uint8' ? 1 : 4)
}

/** Whether two buffers share memory. */
export function buffersOverlap({ offsets }: MemoryPlan, a: Buffer, b: Buffer): boolean {
  const [from, to] = [offsets.get(a)!, offsets.get(b)!]
  return a.per === b.per && from < to + rowBytes(b) && to < from + rowBytes(a)
}

/** Bytes that an arena needs for these numbers of rows; kernels may read 64 bytes beyond the last row. */
export function arenaBytes({ bytes }: MemoryPlan, rows: Readonly<Record<RowKind, number>>): number {
  return bytes.token * rows.token + bytes.sequence * rows.sequence + 64
}

/**
 * Gives each buffer a place such that none overlaps another that is needed at the same time. First fit in the order of the steps.
 */
export function planMemory(lifetimes: ReadonlyMap<Buffer, readonly [first: number, last: number]>): MemoryPlan {
  const offsets = new Map<Buffer, number>()
  const bytes = { token: 0, sequence: 0 }
  const placed: { readonly per: RowKind; readonly first: number; readonly last: number; readonly start: number; readonly end: number }[] =
    []
  for (const [buffer, [first, last]] of [...lifetimes].sort(([, [a]], [, [b]]) => a - b)) {
    const { per } = buffer
    const size = rowBytes(buffer)
    const neighbours = placed.filter((other) => other.per === per && other.first <= last && first <= other.last)
    let start = 0
    for (const other of neighbours.sort((a, b) => a.start - b.start)) {
      if (other.start >= start + size) break
      start = Math.max(start, other.end)
    }
    placed.push({ per, first, last, start, end: start + size })
    offsets.set(buffer, start)
    bytes[per] = Math.max(bytes[per], start + size)
  }
  return { bytes, offsets }
}
