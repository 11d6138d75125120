import { cacheOffset, type Plan } from '../plan/plan.js'
import { isView, type RowKind, roundUp, rowBytes, type View } from '../plan/steps.js'
import { sequenceWords, viewOffset, type Word } from '../program.js'

/** Where a slot's parts lie; they move as runs have more rows. */
export interface Places {
  readonly header: number
  readonly arena: number
  readonly table: number
  readonly numbers: number
  readonly images: number
  /** Of this thread alone. */
  readonly scratch: number
  /** With room for each row, seen by all threads of a team. */
  readonly rowScratch: number
}

/** `kept`: number of rows that a step `keep` moves. */
type Region = 'nothing' | 'blocks' | 'kept' | keyof Places

/**
 * A word: the start of a region, plus bytes, plus bytes for each row of a kind. Of rows of tokens (those of the run, or those that remain behind a step
 * `keep`) a thread of a team has a share: plus `before` for each row in front of it, `own` for each row of it, and `all` for each row of all.
 */
interface LinearWord {
  readonly region: Region
  readonly constant: number
  readonly token: number
  readonly sequence: number
  readonly share?: { readonly rows: 'token' | 'remaining' } & RowShare
}

/** Rows of a share, or bytes for each of them. */
type RowShare = Readonly<Record<'before' | 'own' | 'all', number>>

function at(region: Region, constant: number, token = 0, sequence = 0): LinearWord {
  return { region, constant, token, sequence }
}

/** What lies in front of a slot's lists: the word that cancels a run, and the counter of a team's arrivals. */
export const slotHeader = { cancel: 0, arrivals: 32, bytes: 64 } as const

/** A word of a call: what kernels ask for, or the address of a word in front of the lists. */
export type ListWord = Word | { readonly header: 'cancel' | 'arrivals' }

/** A kernel that a list calls: its function, its words, and whether it is called for a share of the rows of tokens. */
export interface Call {
  readonly function: number
  readonly words: readonly ListWord[]
  /** Its place in the plan. */
  readonly step: number
  readonly sharesRows: boolean
}

/** Which thread of a team a list is for. */
export interface Share {
  readonly part: number
  readonly parts: number
}

const alone: Share = { part: 0, parts: 1 }

/** The list and blocks of words that a thread calls kernels with. */
export class Layout {
  readonly #words: LinearWord[] = []
  /** Whether the steps added so far may have moved the last tokens to the front. */
  #keeps = false
  /** Scratch memory of the present step, and bytes of it. */
  readonly #scratch = new Map<Word, LinearWord>()
  #stepBytes = 0
  /** Bytes of scratch memory that any step needs for a thread alone. */
  scratchBytes = 0
  #step = -1
  /** Bytes of the list and of all blocks. */
  readonly bytes: number
  /** Inputs that give a number for each token, places in their sequences among them. */
  readonly numbers: readonly string[]
  readonly #imageOffsets = new Map<string, number>()
  /** Bytes of images for each sequence. */
  readonly imageBytes: number

  /**
   * @param calls in their order
   * @param constants addresses of the constants
   */
  constructor(
    private readonly plan: Plan,
    readonly calls: readonly Call[],
    private readonly constants: ReadonlyMap<ArrayBufferView, number>,
    private readonly rowScratch: RowScratch,
    private readonly share: Share = alone,
  ) {
    this.numbers = [...plan.numbers, 'index']
    let imageBytes = 0
    for (const [name, elements] of plan.images) {
      this.#imageOffsets.set(name, imageBytes)
      imageBytes += 4 * elements
    }
    this.imageBytes = imageBytes
    let block = 8 * calls.length
    for (const { function: index, words } of calls) {
      this.#words.push(at('nothing', index), at('blocks', block))
      block += 4 * words.length
    }
    for (const call of calls) this.#addCall(call)
    this.bytes = block
  }

  /** All words for a run of so many rows. */
  fill(blocks: number, places: Places, rows: Readonly<Record<RowKind, number>>, keepLast: boolean): Int32Array {
    const starts: Readonly<Record<Region, number>> = { nothing: 0, blocks, kept: keepLast ? rows.sequence : 0, ...places }
    const shares = { token: this.#shareOf(rows.token), remaining: this.#shareOf(keepLast ? rows.sequence : rows.token) }
    return Int32Array.from(this.#words, ({ region, constant, token, sequence, share }) => {
      const start = starts[region] + constant + token * rows.token + sequence * rows.sequence
      if (!share) return start
      const { before, own, all } = shares[share.rows]
      return start + share.before * before + share.own * own + share.all * all
    })
  }

  #shareOf(rows: number): RowShare {
    const { part, parts } = this.share
    const [before, end] = [part, part + 1].map((one) => Math.floor((one * rows) / parts))
    return { before, own: end - before, all: rows }
  }

  #addCall({ words, step, sharesRows }: Call): void {
    const { kind } = this.plan.steps[step]
    if (step !== this.#step) {
      if (this.#step >= 0 && this.plan.steps[this.#step].kind === 'keep') this.#keeps = true
      this.#step = step
      this.#scratch.clear()
      this.#stepBytes = 0
    }
    for (const word of words) this.#words.push(this.#placed(word, kind === 'keep', sharesRows))
  }

  #placed(word: ListWord, isKeep: boolean, sharesRows: boolean): LinearWord {
    if (typeof word !== 'object') return at('nothing', word)
    const share = (bytes: Partial<RowShare>) =>
      ({ rows: this.#keeps ? 'remaining' : 'token', before: 0, own: 0, all: 0, ...bytes }) as const
    if ('header' in word) return at('header', slotHeader[word.header])
    if ('scratch' in word) {
      const place = this.rowScratch.places.get(word) ?? this.#scratchPlace(word)
      return sharesRows && word.per === 'token' ? { ...place, share: share({ before: scratchBytes(word) }) } : place
    }
    if ('rows' in word && word.rows === 'sequence' && isKeep) return at('kept', 0)
    if ('rows' in word && word.rows === 'token') return { ...at('nothing', 0), share: share(sharesRows ? { own: 1 } : { all: 1 }) }
    const linear = this.#linear(word)
    return sharesRows && 'address' in word ? { ...linear, share: share({ before: bytesOfRow(word.address) }) } : linear
  }

  /** Memory behind what the step's other words have. */
  #scratchPlace(word: ScratchWord): LinearWord {
    const known = this.#scratch.get(word)
    if (known) return known
    const place = at('scratch', this.#stepBytes)
    this.#stepBytes += scratchBytes(word)
    this.scratchBytes = Math.max(this.scratchBytes, this.#stepBytes)
    this.#scratch.set(word, place)
    return place
  }

  #linear(word: Word): LinearWord {
    if (typeof word === 'number') return at('nothing', word)
    if ('float' in word) return at('nothing', new Int32Array(Float32Array.of(word.float).buffer)[0])
    if ('stride' in word) return at('nothing', rowBytes(word.stride.buffer))
    if ('rows' in word) return at('nothing', 0, Number(word.rows === 'token'), Number(word.rows === 'sequence'))
    if ('constant' in word) return at('nothing', this.constants.get(word.constant)! + (word.from ?? 0))
    if ('sequences' in word) return at('table', 0)
    if ('cache' in word) return at('nothing', cacheOffset(this.plan, word.cache.layer, word.cache.part))
    if ('scratch' in word) throw new Error('Scratch memory gets its place step by step')
    return this.#address(word.address)
  }

  #address(address: Extract<Word, { readonly address: unknown }>['address']): LinearWord {
    if (address === 'index' || 'input' in address) {
      const place = this.numbers.indexOf(address === 'index' ? 'index' : address.input)
      return at('numbers', 0, 4 * place)
    }
    if ('image' in address) return at('images', 0, 0, this.#imageOffsets.get(address.image)!)
    return this.#view(address)
  }

  /** Offsets of views are linear in the numbers of rows. */
  #view(view: View): LinearWord {
    const offset = (token: number, sequence: number) => viewOffset(this.plan.memory, view, { token, sequence })
    const constant = offset(0, 0)
    return at('arena', constant, offset(1, 0) - constant, offset(0, 1) - constant)
  }
}

type ScratchWord = Extract<Word, { readonly scratch: number }>

/** Where scratch memory with room for each row lies: at the same place for all threads. */
export class RowScratch {
  readonly places = new Map<Word, LinearWord>()
  readonly #ends = new Map<number, LinearWord>()

  /** @param calls all kernels of the plan */
  constructor(calls: readonly Call[]) {
    for (const { words, step } of calls) {
      for (const word of words) {
        if (typeof word !== 'object' || !('scratch' in word) || !word.per || this.places.has(word)) continue
        const place = this.#ends.get(step) ?? at('rowScratch', 0)
        const [token, sequence] = ['token', 'sequence'].map((per) => (word.per === per ? scratchBytes(word) : 0))
        this.places.set(word, place)
        this.#ends.set(step, at('rowScratch', 0, place.token + token, place.sequence + sequence))
      }
    }
  }

  /** For a run of so many rows. */
  bytes(rows: Readonly<Record<RowKind, number>>): number {
    return Math.max(0, ...[...this.#ends.values()].map(({ token, sequence }) => token * rows.token + sequence * rows.sequence))
  }
}

function scratchBytes({ scratch }: ScratchWord): number {
  return roundUp(scratch, 64)
}

/** Bytes from one row to the next of what an address leads to. */
function bytesOfRow(address: Extract<Word, { readonly address: unknown }>['address']): number {
  return isView(address) ? rowBytes(address.buffer) : 4
}

/** Bytes that the table of sequences has for each. */
export const sequenceBytes = 4 * sequenceWords.length
