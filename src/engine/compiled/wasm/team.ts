import { type Step, viewsWritten } from '../plan/steps.js'
import type { MemoryPlan, Word } from '../program.js'
import { closed, decisions, listsOfTeam, type SharedKernel } from '../team.js'
import { TeamBarriers } from '../team-barriers.js'
import type { FunctionBuilder, FunctionReference, Local } from './function.js'
import type { WasmKernel } from './kernels/kernel.js'
import { type Call, type ListWord, slotHeader } from './layout.js'
import { i32, i64, memory, select, type Value } from './values.js'

/** A kernel with the index of its function, and the words of each thread of a team where it can be split. */
export interface PlacedKernel extends Pick<WasmKernel, 'key' | 'words'> {
  readonly function: number
  readonly step: number
  readonly shares: readonly (readonly Word[] | null)[] | undefined
}

/** All calls, for one thread. */
export function callsAlone(kernels: readonly PlacedKernel[]): Call[] {
  return kernels.map(({ function: index, words, step }) => ({ function: index, words, step, sharesRows: false }))
}

/** What threads of a team wait with for each other: the function, and where their count and the word that cancels lie. */
export interface Barrier {
  readonly function: number
  readonly words: (target: number) => readonly ListWord[]
}

/**
 * The calls of each thread of a team.
 *
 * @param few whether there are too few rows to share: then products are split by their columns
 */
export function callsOfTeam(
  kernels: readonly PlacedKernel[],
  { steps, memory: plan }: { readonly steps: readonly Step[]; readonly memory: MemoryPlan },
  parts: number,
  few: boolean,
  barrier: Barrier,
): Call[][] {
  const shared = kernels.map((kernel): SharedKernel<Call> => {
    const { function: index, words, step, shares } = kernel
    const written = new Set(viewsWritten(steps[step]).map(({ buffer }) => buffer))
    const by = sharesRows(kernel) && !few ? 'token' : shares ? 'all' : 'first'
    const wordsOf = { token: () => words, all: (part: number) => shares![part], first: (part: number) => (part ? null : words) }[by]
    const callOf = (part: number) => {
      const own = wordsOf(part)
      return own && { function: index, words: own, step, sharesRows: by === 'token' }
    }
    return { kernel: { words, step, written }, by, callOf }
  })
  return listsOfTeam(shared, parts, new TeamBarriers(plan), (target, { step }) => {
    return { function: barrier.function, words: barrier.words(target), step, sharesRows: false }
  })
}

/** Whether a kernel treats every row of tokens by itself. */
function sharesRows({ words }: PlacedKernel): boolean {
  const has = (test: (word: Exclude<Word, number>) => boolean) => words.some((word) => typeof word === 'object' && test(word))
  return (
    has((word) => 'rows' in word && word.rows === 'token') &&
    !has((word) => 'sequences' in word || ('rows' in word && word.rows !== 'token'))
  )
}

/**
 * How often a thread looks for the others before it does without them, or sleeps: a tenth of a millisecond, for one that sleeps is late at the next
 * barrier, where the others sleep then; and nanoseconds after which it looks whether it shall stop.
 */
const [looks, nap] = [150_000, 2_000_000n]

/** Words: the address of how many times threads have come to barriers, how many when all have come to this one, and the address of the word that cancels. */
export function emitBarrier(f: FunctionBuilder): void {
  const words = f.parameters[0] as Local<'i32'>
  const [counter, target, cancel] = [0, 4, 8].map((at) => f.local('i32', i32.load(words, at)))
  const seen = f.local('i32', i32.add(i32['atomic.rmw.add'](counter, 1), 1))
  f.if(i32.ge_s(seen, target), () => {
    f.set(seen, memory['atomic.notify'](counter, -1))
    f.return()
  })
  emitWait(f, counter, cancel, (count) => i32.ge_s(count, target))
}

/** Waits until a word is as it should be, or the run is cancelled. */
function emitWait(f: FunctionBuilder, word: Local<'i32'>, cancel: Local<'i32'>, isThere: (seen: Local<'i32'>) => Value<'i32'>): void {
  const [seen, left] = [f.local('i32'), f.local('i32', i32.const(looks))]
  f.block((leave) =>
    f.loop((again) => {
      f.set(seen, i32['atomic.load'](word))
      leave(i32.or(isThere(seen), i32['atomic.load'](cancel)))
      f.if(
        left,
        () => f.add(left, -1),
        () => f.set(seen, memory['atomic.wait32'](word, seen, i64.const(nap))),
      )
      again()
    }),
  )
}

/** What a thread of a team starts with: where the slot's header is, how many threads there are, its own list, and the list of all the work. */
export const startWords = ['header', 'threads', 'share', 'shareCount', 'alone', 'aloneCount'] as const

export type StartWords = Readonly<Record<(typeof startWords)[number], number>>

/**
 * Where the threads of a team start: the first to come waits for the others, for a while, and decides; who comes too late has nothing to do.
 *
 * @param drive walks a list
 */
export function emitStart(f: FunctionBuilder, drive: FunctionReference): void {
  const words = f.parameters[0] as Local<'i32'>
  const w = Object.fromEntries(startWords.map((name, i) => [name, f.local('i32', i32.load(words, 4 * i))])) as Record<
    keyof StartWords,
    Local<'i32'>
  >
  const [arrived, decision, done, cancel] = (['arrived', 'decision', 'done', 'cancel'] as const).map((word) =>
    f.local('i32', i32.add(w.header, slotHeader[word])),
  )
  const run = (list: 'share' | 'alone') => f.call<'i32'>(drive, [w[list], w[`${list}Count`], cancel])
  const before = f.local('i32', i32['atomic.rmw.add'](arrived, 1))
  f.if(i32.ge_s(before, closed), () => f.return())
  f.if(
    before,
    () => emitWait(f, decision, cancel, (seen) => seen),
    () => {
      const left = f.local('i32', i32.const(looks))
      f.while(i32.and(i32.gt_s(left, 0), i32.lt_s(i32['atomic.load'](arrived), w.threads)), () => f.add(left, -1))
      const isAlone = f.local('i32', i32.lt_s(i32['atomic.rmw.add'](arrived, closed), w.threads))
      f.do(i32['atomic.store'](decision, select(isAlone, i32.const(decisions.alone), i32.const(decisions.shared))))
      f.set(left, memory['atomic.notify'](decision, -1))
      f.if(isAlone, () => {
        f.do(i32['atomic.store'](done, i32.eqz(run('alone'))))
        f.return()
      })
    },
  )
  const stopped = f.local('i32', i32.eq(i32['atomic.load'](decision), decisions.shared))
  f.if(stopped, () => f.set(stopped, run('share')))
}
