import { type Buffer, isView, type RowKind, type View } from './plan/steps.js'
import { buffersOverlap, type MemoryPlan, type Word } from './program.js'

/** A word as an engine places it. */
type TeamWord = Word | { readonly rows: string } | { readonly shared: string } | { readonly constant: number }
type ScratchWord = Extract<Word, { readonly scratch: number }>
type CacheWord = Extract<Word, { readonly cache: unknown }>

/** What decides whether threads of a team may call a kernel at different times: its words, the number of its step, and the buffers that this writes. */
export interface TeamKernel {
  readonly words: readonly TeamWord[]
  readonly step: number
  readonly written: ReadonlySet<Buffer>
}

/** Who calls a kernel: the first thread of a team, each for its own rows of a kind (`remaining` behind the step `keep`), or all in another way. */
export type Callers = 'first' | 'all' | RowKind | 'remaining'

/** A place in memory that a kernel reads or writes. */
interface Access {
  readonly place: View | ScratchWord | CacheWord
  readonly writes: boolean
  readonly step: number
  readonly by: Callers
}

/**
 * Where the threads of a team need a barrier: before a kernel that needs what others have written since the last one, or that writes where they
 * read or write.
 */
export class TeamBarriers {
  #accesses: Access[] = []
  /** How many there are so far. */
  count = 0

  /** @param own memory that each thread has for itself */
  constructor(
    private readonly memory: MemoryPlan,
    private readonly own: ReadonlySet<Buffer | ScratchWord> = new Set(),
  ) {}

  /** Whether there is one in front of this kernel. Kernels are asked about in their order. */
  before(kernel: TeamKernel, by: Callers): boolean {
    const accesses = accessesOf(kernel, by).filter(
      ({ place }) => 'cache' in place || !this.own.has('buffer' in place ? place.buffer : place),
    )
    const needed = accesses.some((access) => this.#accesses.some((earlier) => isConflict(earlier, access, this.memory)))
    if (needed) {
      this.count++
      this.#accesses = []
    }
    this.#accesses.push(...accesses)
    return needed
  }
}

function accessesOf({ words, step, written }: TeamKernel, by: Callers): Access[] {
  return words.flatMap((word): Access[] => {
    if (typeof word !== 'object') return []
    if ('cache' in word) return [{ place: word, writes: true, step, by }]
    if ('scratch' in word) return word.per ? [{ place: word, writes: true, step, by }] : []
    if (!('address' in word) || !isView(word.address)) return []
    return [{ place: word.address, writes: written.has(word.address.buffer), step, by }]
  })
}

function isConflict(earlier: Access, later: Access, memory: MemoryPlan): boolean {
  if (!(earlier.writes || later.writes) || (earlier.by === 'first' && later.by === 'first')) return false
  const isOwn = earlier.by === later.by && later.by !== 'all'
  const [a, b] = [earlier.place, later.place]
  if ('buffer' in a && 'buffer' in b) return viewsCollide(memory, a, b, isOwn)
  // Scratch memory of a step lies where that of others does.
  if ('scratch' in a && 'scratch' in b) return a === b ? !isOwn : earlier.step !== later.step
  return 'cache' in a && 'cache' in b && a.cache.layer === b.cache.layer && a.cache.part === b.cache.part
}

/** @param ownRows each thread keeps to its own rows of both */
function viewsCollide(memory: MemoryPlan, a: View, b: View, ownRows: boolean): boolean {
  if (a.buffer !== b.buffer) return buffersOverlap(memory, a.buffer, b.buffer)
  return !ownRows && a.column < b.column + b.columns && b.column < a.column + a.columns
}
