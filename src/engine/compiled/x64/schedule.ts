import type { PlanOutline } from '../plan/plan.js'
import { isView } from '../plan/steps.js'
import { listsOfTeam, type SharedKernel } from '../team.js'
import { TeamBarriers } from '../team-barriers.js'
import type { Call, Memory, RowCount } from './parameter-blocks.js'
import type { PlacedKernel } from './placed-kernel.js'
import { barrierParameters, type SystemFunctions } from './team.js'

/** A kernel whose code is in memory; what made the code need not be kept. */
export type ScheduledKernel = Omit<PlacedKernel, 'code'>

/**
 * How many rows there are for a team: `few` are left to one thread, of `some` each thread takes a share where a kernel cannot be split otherwise, and
 * `many` are always shared, so that each thread goes on with its own rows.
 */
export type Amount = 'few' | 'some' | 'many'

export type Amounts = Readonly<Record<RowCount, Amount>>

/** For what a team works, how many threads it has, and the addresses of functions of the system for their barriers. */
export interface TeamContext {
  readonly plan: PlanOutline
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
export function callsAlone(kernels: readonly ScheduledKernel[]): Call[] {
  return kernels.map(({ words }, kernel) => ({ kernel, words }))
}

/** The calls of each thread of a team. */
export function callsOfTeam(kernels: readonly ScheduledKernel[], { plan, amounts, parts, functions }: TeamContext): Call[][] {
  const own = ownMemory(kernels, plan, amounts, parts)
  const shared = kernels.map((placed, kernel) => sharedKernel(placed, kernel, sharingOf(placed, amounts, parts, own), parts, own))
  return listsOfTeam(shared, parts, new TeamBarriers(plan.memory, own), (target) => {
    const values = { team: { shared: 'team' }, target, cancel: { shared: 'cancel' }, ...functions } as const
    return { kernel: 'barrier', words: barrierParameters.names.map((name) => values[name]) }
  })
}

function sharedKernel(
  placed: ScheduledKernel,
  kernel: number,
  sharing: Sharing,
  parts: number,
  own: ReadonlySet<Memory>,
): SharedKernel<Call> {
  const { words, rows, shares } = placed
  switch (sharing) {
    case 'rows':
      return { kernel: placed, by: rows!, callOf: () => ({ kernel, words, rows }) }
    case 'shares': {
      const wordsOf = shares!.get(parts)!
      return { kernel: placed, by: 'all', callOf: (part) => wordsOf[part] && { kernel, words: wordsOf[part], own } }
    }
    case 'each':
      return { kernel: placed, by: 'all', callOf: () => ({ kernel, words, own }) }
    case 'first':
      return { kernel: placed, by: 'first', callOf: (part) => (part ? null : { kernel, words, own }) }
  }
}

/**
 * What each thread does of a kernel: its rows, its share as the kernel has it, all of it for itself in memory of its own, or nothing but for the
 * first thread.
 */
type Sharing = 'rows' | 'shares' | 'each' | 'first'

function sharingOf(placed: ScheduledKernel, amounts: Amounts, parts: number, own: ReadonlySet<Memory>): Sharing {
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
function ownMemory(kernels: readonly ScheduledKernel[], { outputs }: PlanOutline, amounts: Amounts, parts: number): ReadonlySet<Memory> {
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
function isRepeated(kernel: ScheduledKernel, parts: number, own: ReadonlySet<Memory>): boolean {
  const { rows, shares } = kernel
  return rows !== undefined && !shares?.has(parts) && memoriesWritten(kernel, parts).every((memory) => own.has(memory))
}

function memoriesOf({ words }: ScheduledKernel): Memory[] {
  return words.flatMap((word): Memory[] => {
    if (typeof word !== 'object') return []
    if ('scratch' in word) return word.per ? [word] : []
    return 'address' in word && isView(word.address) ? [word.address.buffer] : []
  })
}

/** What a kernel may write. One with shares reads what the step's kernels before it have left in scratch memory that is not shared. */
function memoriesWritten(kernel: ScheduledKernel, parts: number): Memory[] {
  const { written, shares } = kernel
  return memoriesOf(kernel).filter((memory) => ('scratch' in memory ? memory.shared || !shares?.has(parts) : written.has(memory)))
}
