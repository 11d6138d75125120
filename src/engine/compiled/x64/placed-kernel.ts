import { type Buffer, type Step, viewsWritten } from '../plan/steps.js'
import type { StepKernel, Word } from '../program.js'
import type { PlacedWord, RowCount } from './parameter-blocks.js'

/** A kernel of a plan whose constants are in memory. */
export interface PlacedKernel {
  readonly key: string
  readonly code: () => Uint8Array
  readonly words: readonly PlacedWord[]
  /** What it treats the rows of one by one. */
  readonly rows?: RowCount
  /** The words of each thread's share, by the number of threads. */
  readonly shares?: ReadonlyMap<number, readonly (readonly PlacedWord[] | null)[]>
  /** The number of its step, and the buffers that the step writes. */
  readonly step: number
  readonly written: ReadonlySet<Buffer>
}

/** Where kernels are placed. */
export interface Placement {
  /** The address of a copy of the array. */
  readonly place: (array: ArrayBufferView) => number
  /** Most threads that share work. */
  readonly threads: number
  /** Whether the kernel comes behind the step `keep`. */
  readonly remaining: boolean
}

/** Places a kernel of the step with this number. */
export function placedKernel(
  { key, code, words, split }: StepKernel<Uint8Array>,
  step: Step,
  number: number,
  { place, threads, remaining }: Placement,
): PlacedKernel {
  const tokens = remaining ? 'remaining' : 'token'
  const placed = (word: Word): PlacedWord => {
    if (typeof word !== 'object') return word
    if ('constant' in word) return { constant: place(word.constant) + (word.from ?? 0) }
    return 'rows' in word && word.rows === 'token' ? { rows: tokens } : (word as PlacedWord)
  }
  const all = words.map(placed)
  const sharesOf = (parts: number) => Array.from({ length: parts }, (_, part) => split!(part, parts)?.map(placed) ?? null)
  return {
    key,
    code,
    words: all,
    rows: rowsOf(all),
    ...(split && { shares: new Map(Array.from({ length: threads - 1 }, (_, i) => [i + 2, sharesOf(i + 2)])) }),
    step: number,
    written: new Set(viewsWritten(step).map(({ buffer }) => buffer)),
  }
}

/** What a kernel with these words treats the rows of one by one. */
function rowsOf(words: readonly PlacedWord[]): RowCount | undefined {
  const counts = words.flatMap((word) => (typeof word === 'object' && 'rows' in word ? [word.rows] : []))
  const mixes = words.some((word) => typeof word === 'object' && 'sequences' in word)
  const [count] = counts
  return mixes || counts.length !== 1 || count === 'kept' ? undefined : count
}
