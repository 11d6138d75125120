import type { Callers, TeamBarriers, TeamKernel } from './team-barriers.js'

/** Multiplications and additions of a run that are worth the threads of a team. */
export const teamOperations = 5e6

/**
 * What the first thread of a team decides. Its threads count their arrivals in a word; the first one waits for the others, for a while: that all share
 * the work, or to do all of it because others did not come in time.
 */
export const decisions = { shared: 1, alone: 2 } as const

/** Added to the arrivals when that is decided: who finds so many came too late, and has nothing to do. */
export const closed = 2 ** 30

/** One of several threads. */
export interface Member {
  readonly part: number
  readonly parts: number
}

/** The thread that does all the work. */
export const alone: Member = { part: 0, parts: 1 }

/** The rows of a member's share, `end` excluded. */
export function shareOf(rows: number, { part, parts }: Member): [first: number, end: number] {
  const [first, end] = [part, part + 1].map((each) => Math.ceil((each * rows) / parts))
  return [first, end]
}

/** A kernel as the threads of a team call it. */
export interface SharedKernel<Call> {
  readonly kernel: TeamKernel
  readonly by: Callers
  /** The call of a thread; null where it leaves the kernel to others. */
  readonly callOf: (part: number) => Call | null
}

/**
 * The calls of each of `parts` threads of a team. Where a kernel needs what other threads have written, or writes where they read or write, all meet
 * at a barrier first.
 *
 * @param barrier the call of a barrier: how often threads have come to barriers when all have come to this one, and the kernel behind it
 */
export function listsOfTeam<Call>(
  kernels: readonly SharedKernel<Call>[],
  parts: number,
  barriers: TeamBarriers,
  barrier: (target: number, next: TeamKernel) => Call,
): Call[][] {
  const lists = Array.from({ length: parts }, (): Call[] => [])
  for (const { kernel, by, callOf } of kernels) {
    const meets = barriers.before(kernel, by)
    for (const [part, list] of lists.entries()) {
      if (meets) list.push(barrier(barriers.count * parts, kernel))
      const call = callOf(part)
      if (call) list.push(call)
    }
  }
  return lists
}
