import { type Step, viewsWritten } from '../plan/steps.js'
import type { MemoryPlan, Word } from '../program.js'
import { TeamBarriers } from '../team-barriers.js'
import type { FunctionBuilder, Local } from './function.js'
import type { WasmKernel } from './kernels/kernel.js'
import type { Call, ListWord } from './layout.js'
import { i32, i64, memory } from './values.js'

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

/** What threads of a team wait with for each other: the function, and where the counter of arrivals and the word that cancels lie. */
export interface Barrier {
  readonly function: number
  readonly words: (target: number) => readonly ListWord[]
}

/**
 * The calls of each thread of a team. Where a kernel needs what other threads have written, or writes where they read or write, all meet at a
 * barrier first.
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
  const lists = Array.from({ length: parts }, (): Call[] => [])
  const barriers = new TeamBarriers(plan)
  for (const kernel of kernels) {
    const { function: index, words, step, shares } = kernel
    const by = sharesRows(kernel) && !few ? 'token' : shares ? 'all' : 'first'
    const written = new Set(viewsWritten(steps[step]).map(({ buffer }) => buffer))
    if (barriers.before({ words, step, written }, by)) {
      const target = barriers.count * parts
      for (const list of lists) list.push({ function: barrier.function, words: barrier.words(target), step, sharesRows: false })
    }
    for (const [part, list] of lists.entries()) {
      const ownWords = by === 'all' ? shares![part] : words
      if (ownWords && (by !== 'first' || part === 0)) list.push({ function: index, words: ownWords, step, sharesRows: by === 'token' })
    }
  }
  return lists
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
 * How often a thread looks for the others before it sleeps: a tenth of a millisecond, for one that sleeps is late at the next barrier, where the
 * others sleep then; and nanoseconds after which it looks whether it shall stop.
 */
const [looks, nap] = [150_000, 2_000_000n]

/** Words: the address of the counter of arrivals, how many there are when all have arrived, and the address of the word that cancels. */
export function emitBarrier(f: FunctionBuilder): void {
  const words = f.parameters[0] as Local<'i32'>
  const [counter, target, cancel] = [0, 4, 8].map((at) => f.local('i32', i32.load(words, at)))
  const seen = f.local('i32', i32.add(i32['atomic.rmw.add'](counter, 1), 1))
  f.if(i32.ge_s(seen, target), () => {
    f.set(seen, memory['atomic.notify'](counter, -1))
    f.return()
  })
  const left = f.local('i32', i32.const(looks))
  f.loop((again) => {
    f.set(seen, i32['atomic.load'](counter))
    f.if(i32.or(i32.ge_s(seen, target), i32['atomic.load'](cancel)), () => f.return())
    f.if(
      left,
      () => f.add(left, -1),
      () => f.set(seen, memory['atomic.wait32'](counter, seen, i64.const(nap))),
    )
    again()
  })
}
