import type { Plan } from '../plan/plan.js'
import { isView, type View } from '../plan/steps.js'
import { type MemoryPlan, viewsCollide } from '../program.js'
import type { Call, Memory, PlacedWord, RowCount, ScratchWord } from './parameter-blocks.js'
import type { PlacedKernel } from './placed-kernel.js'
import { barrierParameters, type SystemFunctions } from './team.js'

/**
 * How many rows there are for a team: `few` are left to one thread, of `some` each thread takes a share where a kernel cannot be split otherwise, and
 * `many` are always shared, so that each thread goes on with its own rows.
 */
export type Amount = 'few' | 'some' | 'many'

export type Amounts = Readonly<Record<RowCount, Amount>>

/** For what a team works, how many threads it has, and the addresses of functions of the system for their barriers. */
export interface TeamContext {
  readonly plan: Plan
  readonly amounts: Amounts
  readonly parts: number
  readonly functions: SystemFunctions
}

/** Rows for each thread that are many: it reads all weights for its own rows then. */
const manyRows = 32

export function amountOf(rows: number, parts: number): Amount {
  return rows < parts ? 'few' : rows < manyRows * parts ? 'some' : 'many'
}

/** All calls, for one thread. */
export function callsAlone(kernels: readonly PlacedKernel[]): Call[] {
  return kernels.map(({ words }, kernel) => ({ kernel, words }))
}

/**
 * The calls of each thread of a team. Where a kernel needs what other threads have written, or writes where they read or write, all meet at a
 * barrier first.
 */
export function callsOfTeam(kernels: readonly PlacedKernel[], { plan, amounts, parts, functions }: TeamContext): Call[][] {
  const lists = Array.from({ length: parts }, (): Call[] => [])
  const own = ownMemory(kernels, plan, amounts, parts)
  let barriers = 0
  let accesses: Access[] = []
  for (const [kernel, placed] of kernels.entries()) {
    const sharing = sharingOf(placed, amounts, parts, own)
    const needed = accessesOf(placed, sharing).filter(({ place }) => 'cache' in place || !own.has('buffer' in place ? place.buffer : place))
    if (needed.some((access) => accesses.some((earlier) => isConflict(earlier, access, plan.memory)))) {
      barriers++
      const values = { team: { shared: 'team' }, target: barriers * parts, cancel: { shared: 'cancel' }, ...functions } as const
      const words = barrierParameters.names.map((name) => values[name])
      for (const list of lists) list.push({ kernel: 'barrier', words })
      accesses = []
    }
    accesses.push(...needed)
    for (const [part, list] of lists.entries()) {
      const words = sharing === 'shares' ? placed.shares!.get(parts)![part] : placed.words
      if (sharing === 'rows') list.push({ kernel, words: placed.words, rows: placed.rows })
      else if (words && (sharing !== 'first' || part === 0)) list.push({ kernel, words, own })
    }
  }
  return lists
}

/**
 * What each thread does of a kernel: its rows, its share as the kernel has it, all of it for itself in memory of its own, or nothing but for the
 * first thread.
 */
type Sharing = 'rows' | 'shares' | 'each' | 'first'

function sharingOf(placed: PlacedKernel, amounts: Amounts, parts: number, own: ReadonlySet<Memory>): Sharing {
  const { rows, shares } = placed
  if (rows && amounts[rows] === 'many') return 'rows'
  if (shares?.has(parts)) return 'shares'
  if (rows && amounts[rows] === 'some') return 'rows'
  return isRepeated(placed, parts, own) ? 'each' : 'first'
}

/**
 * Memory of which each thread has its own, so that none waits for what another writes there: where there are few tokens, what only kernels write
 * that every thread may as well do for itself.
 */
function ownMemory(kernels: readonly PlacedKernel[], { outputs }: Plan, amounts: Amounts, parts: number): ReadonlySet<Memory> {
  if (amounts.token !== 'few') return new Set()
  const own = new Set(kernels.flatMap(memoriesOf))
  for (const { buffer } of outputs.values()) own.delete(buffer)
  for (let size = -1; size !== own.size; ) {
    size = own.size
    for (const kernel of kernels)
      if (!isRepeated(kernel, parts, own)) for (const memory of memoriesWritten(kernel, parts)) own.delete(memory)
  }
  return own
}

/** Whether a kernel can be done by every thread in memory of its own. */
function isRepeated(kernel: PlacedKernel, parts: number, own: ReadonlySet<Memory>): boolean {
  const { rows, shares } = kernel
  return rows !== undefined && !shares?.has(parts) && memoriesWritten(kernel, parts).every((memory) => own.has(memory))
}

function memoriesOf({ words }: PlacedKernel): Memory[] {
  return words.flatMap((word): Memory[] => {
    if (typeof word !== 'object') return []
    if ('scratch' in word) return word.per ? [word] : []
    return 'address' in word && isView(word.address) ? [word.address.buffer] : []
  })
}

/** What a kernel may write. One with shares reads what the step's kernels before it have left in scratch memory. */
function memoriesWritten(kernel: PlacedKernel, parts: number): Memory[] {
  const { written, shares } = kernel
  return memoriesOf(kernel).filter((memory) => ('scratch' in memory ? !shares?.has(parts) : written.has(memory)))
}

/** A place in memory that a kernel reads or writes. */
interface Access {
  readonly place: View | ScratchWord | Extract<PlacedWord, { cache: unknown }>
  readonly writes: boolean
  readonly step: number
  /** Who does it: the first thread, each its own rows of a kind, or all. */
  readonly by: 'first' | 'all' | RowCount
}

function accessesOf({ words, written, step, rows }: PlacedKernel, sharing: Sharing): Access[] {
  const by = sharing === 'first' ? 'first' : sharing === 'rows' ? rows! : 'all'
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
  if ('scratch' in a && 'scratch' in b) return a === b ? !isOwn : earlier.step !== later.step
  return 'cache' in a && 'cache' in b && a.cache.layer === b.cache.layer && a.cache.part === b.cache.part
}
