import { cacheOffset, type Plan } from '../plan/plan.js'
import { isView, type RowKind, roundUp, rowBytes, type View } from '../plan/steps.js'
import { sequenceWords, viewOffset, type Word } from '../program.js'
import { alone, type Member, shareOf } from '../team.js'

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

const quantities = [
  ...(['one', 'blocks', 'header', 'arena', 'table', 'numbers', 'images', 'scratch', 'rowScratch'] as const),
  ...(['token', 'sequence', 'before', 'own', 'kept', 'remaining', 'remainingBefore', 'remainingOwn'] as const),
] as const

/**
 * What the words of a run are made of: 1; where the lists' blocks and the parts of a slot start; the number of rows of each kind; of rows of tokens
 * those in front of a thread's share, and those of it; how many rows a step `keep` moves; and the rows of tokens that remain behind it, likewise.
 */
type Quantity = (typeof quantities)[number]

/** A word as so many times each quantity. */
type LinearWord = Readonly<Partial<Record<Quantity, number>>>

/**
 * What lies in front of a slot's lists, each word in a line of the cache of its own: the one that cancels a run; how many threads of a team have
 * arrived, what the first of them has decided, and whether it has done all the work alone; and how many times threads have come to barriers.
 */
export const slotHeader = { cancel: 0, arrived: 64, decision: 128, done: 192, passed: 256, bytes: 320 } as const

/** A word of a call: what kernels ask for, or the address of a word in front of the lists. */
export type ListWord = Word | { readonly header: 'cancel' | 'passed' }

/** A kernel that a list calls: its function, its words, and whether it is called for a share of the rows of tokens. */
export interface Call {
  readonly function: number
  readonly words: readonly ListWord[]
  /** Its place in the plan. */
  readonly step: number
  readonly sharesRows: boolean
}

/** The list and blocks of words that a thread calls kernels with. */
export class Layout {
  /** For each time that a word needs a quantity: the word, which one, and how often. */
  readonly #terms: Int32Array
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
    private readonly member: Member = alone,
  ) {
    this.numbers = [...plan.numbers, 'index']
    let imageBytes = 0
    for (const [name, elements] of plan.images) {
      this.#imageOffsets.set(name, imageBytes)
      imageBytes += 4 * elements
    }
    this.imageBytes = imageBytes
    let block = 8 * calls.length
    const list = calls.flatMap(({ function: index, words }): LinearWord[] => {
      const start = block
      block += 4 * words.length
      return [{ one: index }, { blocks: 1, one: start }]
    })
    this.bytes = block
    this.#terms = termsOf([...list, ...calls.flatMap((call) => this.#wordsOf(call))])
  }

  /** All words for a run of so many rows. */
  fill(blocks: number, places: Places, rows: Readonly<Record<RowKind, number>>, keepLast: boolean): Int32Array {
    const remaining = keepLast ? rows.sequence : rows.token
    const kept = keepLast ? rows.sequence : 0
    const [before, end] = shareOf(rows.token, this.member)
    const [remainingBefore, remainingEnd] = shareOf(remaining, this.member)
    const shares = { before, own: end - before, kept, remaining, remainingBefore, remainingOwn: remainingEnd - remainingBefore }
    const amounts: Readonly<Record<Quantity, number>> = { one: 1, blocks, ...places, ...rows, ...shares }
    const values = quantities.map((quantity) => amounts[quantity])
    const words = new Int32Array(this.bytes / 4)
    for (let i = 0; i < this.#terms.length; i += 3) words[this.#terms[i]] += this.#terms[i + 2] * values[this.#terms[i + 1]]
    return words
  }

  #wordsOf({ words, step, sharesRows }: Call): LinearWord[] {
    const { kind } = this.plan.steps[step]
    if (step !== this.#step) {
      if (this.#step >= 0 && this.plan.steps[this.#step].kind === 'keep') this.#keeps = true
      this.#step = step
      this.#scratch.clear()
      this.#stepBytes = 0
    }
    return words.map((word) => this.#placed(word, kind === 'keep', sharesRows))
  }

  #placed(word: ListWord, isKeep: boolean, sharesRows: boolean): LinearWord {
    if (typeof word !== 'object') return { one: word }
    const before = this.#keeps ? 'remainingBefore' : 'before'
    if ('header' in word) return { header: 1, one: slotHeader[word.header] }
    if ('scratch' in word) {
      const place = this.rowScratch.places.get(word) ?? this.#scratchPlace(word)
      return sharesRows && word.per === 'token' ? { ...place, [before]: scratchBytes(word) } : place
    }
    if ('rows' in word && word.rows === 'sequence' && isKeep) return { kept: 1 }
    if ('rows' in word && word.rows === 'token') {
      if (sharesRows) return { [this.#keeps ? 'remainingOwn' : 'own']: 1 }
      return { [this.#keeps ? 'remaining' : 'token']: 1 }
    }
    const linear = this.#linear(word)
    return sharesRows && 'address' in word ? { ...linear, [before]: bytesOfRow(word.address) } : linear
  }

  /** Memory behind what the step's other words have. */
  #scratchPlace(word: ScratchWord): LinearWord {
    const known = this.#scratch.get(word)
    if (known) return known
    const place = { scratch: 1, one: this.#stepBytes }
    this.#stepBytes += scratchBytes(word)
    this.scratchBytes = Math.max(this.scratchBytes, this.#stepBytes)
    this.#scratch.set(word, place)
    return place
  }

  #linear(word: Word): LinearWord {
    if (typeof word === 'number') return { one: word }
    if ('float' in word) return { one: new Int32Array(Float32Array.of(word.float).buffer)[0] }
    if ('stride' in word) return { one: rowBytes(word.stride.buffer) }
    if ('rows' in word) return word.rows === 'sequence' ? { sequence: 1 } : {}
    if ('constant' in word) return { one: this.constants.get(word.constant)! + (word.from ?? 0) }
    if ('sequences' in word) return { table: 1 }
    if ('cache' in word) return { one: cacheOffset(this.plan, word.cache.layer, word.cache.part) }
    if ('scratch' in word) throw new Error('Scratch memory gets its place step by step')
    return this.#address(word.address)
  }

  #address(address: Extract<Word, { readonly address: unknown }>['address']): LinearWord {
    if (address === 'index' || 'input' in address) {
      const place = this.numbers.indexOf(address === 'index' ? 'index' : address.input)
      return { numbers: 1, token: 4 * place }
    }
    if ('image' in address) return { images: 1, sequence: this.#imageOffsets.get(address.image)! }
    return this.#view(address)
  }

  /** Offsets of views are linear in the numbers of rows. */
  #view(view: View): LinearWord {
    const offset = (token: number, sequence: number) => viewOffset(this.plan.memory, view, { token, sequence })
    const one = offset(0, 0)
    return { arena: 1, one, token: offset(1, 0) - one, sequence: offset(0, 1) - one }
  }
}

function termsOf(words: readonly LinearWord[]): Int32Array {
  const terms = words.flatMap((word, place) =>
    quantities.flatMap((quantity, which) => (word[quantity] ? [place, which, word[quantity]] : [])),
  )
  return Int32Array.from(terms)
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
        const place = this.#ends.get(step) ?? { rowScratch: 1 }
        this.places.set(word, place)
        this.#ends.set(step, {
          ...place,
          [word.per]: (place[word.per] ?? 0) + scratchBytes(word),
          one: (place.one ?? 0) + roundUp(word.beyond ?? 0, 64),
        })
      }
    }
  }

  /** For a run of so many rows. */
  bytes(rows: Readonly<Record<RowKind, number>>): number {
    const ends = [...this.#ends.values()]
    return Math.max(0, ...ends.map(({ token = 0, sequence = 0, one = 0 }) => token * rows.token + sequence * rows.sequence + one))
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
