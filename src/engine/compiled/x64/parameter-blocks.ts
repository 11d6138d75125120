import { cacheOffset, type PlanOutline } from '../plan/plan.js'
import { type Buffer, isView, roundUp, rowBytes, type View } from '../plan/steps.js'
import { viewOffset, type Word } from '../program.js'
import { type Member, shareOf } from '../team.js'

/** How many rows a run has of each kind; `remaining` tokens behind the step `keep`, of which last ones are `kept` (0 in runs that keep all). */
export type RunRows = Readonly<Record<'token' | 'sequence' | 'remaining' | 'kept', number>>

/** Bytes that depend on the numbers of rows: `fixed + token * rows.token + sequence * rows.sequence`. */
export interface Linear {
  readonly fixed: number
  readonly token: number
  readonly sequence: number
}

export function evaluate({ fixed, token, sequence }: Linear, rows: Pick<RunRows, 'token' | 'sequence'>): number {
  return fixed + token * rows.token + sequence * rows.sequence
}

/**
 * A word whose constant has been placed in memory, with its address. Rows are counted as they are at the kernel's place. Barriers also ask
 * for what a team shares, and for the word that cancels their list.
 */
export type PlacedWord =
  | Exclude<Word, { readonly constant: ArrayBufferView } | { readonly rows: string }>
  | { readonly constant: number }
  | { readonly rows: keyof RunRows }
  | { readonly shared: 'team' | 'cancel' }

/**
 * Memory that runs bring along: an arena and scratch memory for all threads and others for each, and more. `number:` and `image:` are followed by
 * the name of an input.
 */
export type Region =
  | 'team'
  | 'cancel'
  | 'arena'
  | 'ownArena'
  | 'scratch'
  | 'ownScratch'
  | 'sequences'
  | 'index'
  | `number:${string}`
  | `image:${string}`

/** What threads may have of their own: a buffer, or scratch memory for rows. */
export type Memory = Buffer | ScratchWord

export type ScratchWord = Extract<Word, { scratch: number }>

/** A kernel with its words, as a list of calls has it. */
export interface Call {
  /** Which of the plan's kernels. */
  readonly kernel: number | 'barrier'
  readonly words: readonly PlacedWord[]
  /** Where the words are those of all rows, and the member's share of them is meant: what the rows are. */
  readonly rows?: RowCount
  /** Of what the member has its own. */
  readonly own?: ReadonlySet<Memory>
}

/** What there are rows of; `remaining` behind the step `keep`. */
export type RowCount = 'token' | 'sequence' | 'remaining'

/** A word that a run fills in: a number of rows, or a place in a region, perhaps that of the first row of the member's share. */
interface RunWord extends Linear {
  /** Which 64-bit word of all blocks together. */
  readonly place: number
  readonly count?: keyof RunRows
  /** Bytes of a row. */
  readonly bytes?: number
  readonly rows?: RowCount
}

/** The blocks of parameters of a list of calls, one after the other. */
export class ParameterBlocks {
  /** 64-bit words of all blocks. */
  readonly words: number
  /** The first word of each call's block. */
  readonly starts: readonly number[]
  readonly #known: [place: number, value: number][] = []
  /** By the region in which they are places; undefined for numbers. */
  readonly #runWords = new Map<Region | undefined, RunWord[]>()

  constructor(
    readonly plan: PlanOutline,
    readonly calls: readonly Call[],
    readonly member: Member,
    readonly scratch: ScratchLayout,
  ) {
    let place = 0
    this.starts = calls.map((call) => {
      const start = place
      for (const word of call.words) this.#add(place++, word, call)
      return start
    })
    this.words = place
  }

  /** Writes what no run changes. */
  writeKnown(memory: Uint32Array): void {
    for (const [place, value] of this.#known) writeWord(memory, place, value)
  }

  /** Writes what depends on a run: numbers of rows, and the addresses that follow from them. */
  writeRun(memory: Uint32Array, rows: RunRows, addressOf: (region: Region) => number): void {
    for (const [region, words] of this.#runWords) {
      const start = region ? addressOf(region) : 0
      for (const word of words) {
        const [first, end] = word.rows ? shareOf(rows[word.rows], this.member) : [0, 0]
        const count = word.count ? (word.rows ? end - first : rows[word.count]) : 0
        writeWord(memory, word.place, start + evaluate(word, rows) + count + (word.bytes ?? 0) * first)
      }
    }
  }

  #add(place: number, word: PlacedWord, { rows, own }: Call): void {
    const known = (value: number) => void this.#known.push([place, value])
    const inRun = (region: Region | undefined, linear: Linear, more: Omit<RunWord, 'place' | keyof Linear> = {}) => {
      const words = this.#runWords.get(region) ?? []
      this.#runWords.set(region, words)
      words.push({ place, ...linear, ...more })
    }
    const share = (bytes: number) => (rows ? { rows, bytes } : {})
    if (typeof word === 'number') known(word)
    else if ('constant' in word) known(word.constant)
    else if ('float' in word) known(new Uint32Array(Float32Array.of(word.float).buffer)[0])
    else if ('stride' in word) known(rowBytes(word.stride.buffer))
    else if ('cache' in word) known(cacheOffset(this.plan, word.cache.layer, word.cache.part))
    else if ('rows' in word) inRun(undefined, nothing, { count: word.rows, ...(rows && { rows }) })
    else if ('scratch' in word) {
      const region = own?.has(word) ? 'ownScratch' : 'scratch'
      inRun(region, this.scratch.of(word, this.member.part), word.per && share(word.scratch))
    } else if ('sequences' in word) inRun('sequences', nothing)
    else if ('shared' in word) inRun(word.shared, nothing)
    else if (word.address === 'index') inRun('index', nothing, share(4))
    else if (isView(word.address)) {
      const region = own?.has(word.address.buffer) ? 'ownArena' : 'arena'
      inRun(region, this.#viewOffset(word.address), share(rowBytes(word.address.buffer)))
    } else if ('image' in word.address) inRun(`image:${word.address.image}`, nothing)
    else inRun(`number:${word.address.input}`, nothing, share(4))
  }

  /** The offset of a view, which is linear in the numbers of rows. */
  #viewOffset(view: View): Linear {
    const at = (token: number, sequence: number) => viewOffset(this.plan.memory, view, { token, sequence })
    return { fixed: at(0, 0), token: at(1, 0) - at(0, 0), sequence: at(0, 1) - at(0, 0) }
  }
}

const nothing: Linear = { fixed: 0, token: 0, sequence: 0 }

/** How far scratch memory may be read and written beyond its end: a panel of the widest product. */
const overrun = 256

/**
 * Where scratch memory lies: that of a step's kernels one behind the other, that of all steps in the same place. What has no rows is there once
 * for each thread.
 */
export class ScratchLayout {
  readonly #offsets = new Map<ScratchWord, Linear>()
  readonly #ends: readonly Linear[]

  /** @param kernels in order, with the step that they are of */
  constructor(
    kernels: readonly { readonly step: number; readonly words: readonly PlacedWord[] }[],
    readonly threads: number,
  ) {
    const ends = new Map<number, Linear>()
    for (const { step, words } of kernels) ends.set(step, this.#layOut(words, ends.get(step) ?? nothing))
    this.#ends = [...new Map([...ends.values()].map((end) => [JSON.stringify(end), end])).values()]
  }

  of(word: ScratchWord, part: number): Linear {
    const offset = this.#offsets.get(word)!
    return word.per ? offset : { ...offset, fixed: offset.fixed + part * ownBytes(word) }
  }

  /** Bytes that are enough for each step. */
  bytes(rows: RunRows): number {
    return Math.max(0, ...this.#ends.map((end) => evaluate(end, rows)))
  }

  /** Gives new words a place from `start` on, and says where it ends. */
  #layOut(words: readonly PlacedWord[], start: Linear): Linear {
    let end = start
    for (const word of words) {
      if (typeof word !== 'object' || !('scratch' in word) || this.#offsets.has(word)) continue
      const bytes = roundUp(word.scratch, 64)
      this.#offsets.set(word, end)
      end = {
        fixed: end.fixed + (word.per ? overrun + roundUp(word.beyond ?? 0, 64) : this.threads * ownBytes(word)),
        token: end.token + (word.per === 'token' ? bytes : 0),
        sequence: end.sequence + (word.per === 'sequence' ? bytes : 0),
      }
    }
    return end
  }
}

function ownBytes({ scratch }: ScratchWord): number {
  return roundUp(scratch, 64) + overrun
}

/** Writes a word of 64 bits; whole numbers up to 2^53 in magnitude. */
export function writeWord(memory: Uint32Array, place: number, value: number): void {
  memory[2 * place] = value
  memory[2 * place + 1] = Math.floor(value / 2 ** 32)
}
