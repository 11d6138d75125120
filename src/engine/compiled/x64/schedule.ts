import { isView, rowBytes, type View } from '../plan/steps.js'
import type { MemoryPlan } from '../program.js'
import type { Call, PlacedWord, RowCount } from './parameter-blocks.js'
import type { PlacedKernel } from './placed-kernel.js'
import { barrierParameters, type SystemFunctions } from './team.js'

/**
 * How many rows there are for a team: `few` are left to one thread, of `some` each thread takes a share where a kernel cannot be split otherwise, and
 * `many` are always shared, so that each thread goes on with its own rows.
 */
export type Amount = 'few' | 'some' | 'many'

export type Amounts = Readonly<Record<RowCount, Amount>>

/** How many threads there are, and the addresses of functions of the system for their barriers. */
export interface TeamContext {
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
export function callsOfTeam(
  kernels: readonly PlacedKernel[],
  memory: MemoryPlan,
  amounts: Amounts,
  { parts, functions }: TeamContext,
): Call[][] {
  const lists = Array.from({ length: parts }, (): Call[] => [])
  let barriers = 0
  let accesses: Access[] = []
  for (const [kernel, placed] of kernels.entries()) {
    const sharing = sharingOf(placed, amounts, parts)
    const own = accessesOf(placed, sharing)
    if (own.some((access) => accesses.some((earlier) => isConflict(earlier, access, memory)))) {
      barriers++
      const values = { team: { shared: 'team' }, target: barriers * parts, cancel: { shared: 'cancel' }, ...functions } as const
      const words = barrierParameters.names.map((name) => values[name])
      for (const list of lists) list.push({ kernel: 'barrier', words })
      accesses = []
    }
    accesses.push(...own)
    for (const [part, list] of lists.entries()) {
      const words = sharing === 'shares' ? placed.shares!.get(parts)![part] : placed.words
      if (sharing === 'rows') list.push({ kernel, words: placed.words, rows: placed.rows })
      else if (words && (sharing === 'shares' || part === 0)) list.push({ kernel, words })
    }
  }
  return lists
}

/** What each thread does of a kernel: its rows, its share as the kernel has it, or nothing but for the first thread. */
type Sharing = 'rows' | 'shares' | 'first'

function sharingOf({ rows, shares }: PlacedKernel, amounts: Amounts, parts: number): Sharing {
  if (rows && amounts[rows] === 'many') return 'rows'
  if (shares?.has(parts)) return 'shares'
  return rows && amounts[rows] === 'some' ? 'rows' : 'first'
}

/** A place in memory that a kernel reads or writes. */
interface Access {
  readonly place: View | Extract<PlacedWord, { scratch: number } | { cache: unknown }>
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
  if ('buffer' in a && 'buffer' in b) {
    if (a.buffer === b.buffer) return !isOwn && a.column < b.column + b.columns && b.column < a.column + a.columns
    const [from, to] = [memory.offsets.get(a.buffer)!, memory.offsets.get(b.buffer)!]
    return a.buffer.per === b.buffer.per && from < to + rowBytes(b.buffer) && to < from + rowBytes(a.buffer)
  }
  if ('scratch' in a && 'scratch' in b) return a === b ? !isOwn : earlier.step !== later.step
  return 'cache' in a && 'cache' in b && a.cache.layer === b.cache.layer && a.cache.part === b.cache.part
}
