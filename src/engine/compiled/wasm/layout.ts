import { cacheOffset, type Plan } from '../plan/plan.js'
import { type RowKind, rowBytes, type StepKind, type View } from '../plan/steps.js'
import { sequenceWords, viewOffset, type Word } from '../program.js'
import type { WasmKernel } from './kernels/kernel.js'

/** Where a slot's parts lie; they move as runs have more rows. */
export interface Places {
  readonly arena: number
  readonly table: number
  readonly numbers: number
  readonly images: number
  readonly scratch: number
}

/** `kept`: number of rows that a step `keep` moves; `remaining`: rows of tokens behind it. */
type Region = 'nothing' | 'blocks' | 'kept' | 'remaining' | keyof Places

/** A word: the start of a region, plus bytes, plus bytes for each row of a kind. */
interface LinearWord {
  readonly region: Region
  readonly constant: number
  readonly token: number
  readonly sequence: number
}

function at(region: Region, constant: number, token = 0, sequence = 0): LinearWord {
  return { region, constant, token, sequence }
}

/** The lists and blocks of words that a program's kernels are called with. */
export class Layout {
  readonly #words: LinearWord[] = []
  /** Whether the steps added so far may have moved the last tokens to the front. */
  #keeps = false
  /** Bytes of scratch memory that each step needs: some, and some for each row of a kind. */
  readonly #scratch: LinearWord[] = []
  /** Bytes of the list and of all blocks. */
  readonly bytes: number
  /** Inputs that give a number for each token, places in their sequences among them. */
  readonly numbers: readonly string[]
  readonly #imageOffsets = new Map<string, number>()
  /** Bytes of images for each sequence. */
  readonly imageBytes: number

  /**
   * @param steps the kernels of each step
   * @param functions the index of each kernel's function
   * @param constants addresses of the constants
   */
  constructor(
    private readonly plan: Plan,
    steps: readonly (readonly WasmKernel[])[],
    functions: readonly number[],
    private readonly constants: ReadonlyMap<ArrayBufferView, number>,
  ) {
    this.numbers = [...plan.numbers, 'index']
    let imageBytes = 0
    for (const [name, elements] of plan.images) {
      this.#imageOffsets.set(name, imageBytes)
      imageBytes += 4 * elements
    }
    this.imageBytes = imageBytes
    let block = 8 * steps.flat().length
    for (const [i, { words }] of steps.flat().entries()) {
      this.#words.push(at('nothing', functions[i]), at('blocks', block))
      block += 4 * words.length
    }
    for (const [i, kernels] of steps.entries()) this.#addStep(kernels, plan.steps[i].kind)
    this.bytes = block
  }

  /** All words for a run of so many rows. */
  fill(blocks: number, places: Places, rows: Readonly<Record<RowKind, number>>, keepLast: boolean): Int32Array {
    const [kept, remaining] = keepLast ? [rows.sequence, rows.sequence] : [0, rows.token]
    const starts: Readonly<Record<Region, number>> = { nothing: 0, blocks, kept, remaining, ...places }
    return Int32Array.from(
      this.#words,
      ({ region, constant, token, sequence }) => starts[region] + constant + token * rows.token + sequence * rows.sequence,
    )
  }

  /** Bytes of scratch memory for a run of so many rows. */
  scratchBytes(rows: Readonly<Record<RowKind, number>>): number {
    return this.#scratch.reduce(
      (most, { constant, token, sequence }) => Math.max(most, constant + token * rows.token + sequence * rows.sequence),
      0,
    )
  }

  #addStep(kernels: readonly WasmKernel[], kind: StepKind): void {
    let end = at('scratch', 0)
    const known = new Map<Word, LinearWord>()
    for (const word of kernels.flatMap(({ words }) => words)) {
      if (typeof word === 'object' && 'scratch' in word && !known.has(word)) {
        known.set(word, end)
        const bytes = Math.ceil(word.scratch / 64) * 64
        if (word.per === 'token') end = { ...end, token: end.token + bytes }
        else if (word.per === 'sequence') end = { ...end, sequence: end.sequence + bytes }
        else end = { ...end, constant: end.constant + bytes }
      }
      const rows = typeof word === 'object' && 'rows' in word ? word.rows : undefined
      if (rows === 'sequence' && kind === 'keep') this.#words.push(at('kept', 0))
      else if (rows === 'token' && this.#keeps) this.#words.push(at('remaining', 0))
      else this.#words.push(known.get(word) ?? this.#linear(word))
    }
    this.#scratch.push(end)
    if (kind === 'keep') this.#keeps = true
  }

  #linear(word: Word): LinearWord {
    if (typeof word === 'number') return at('nothing', word)
    if ('float' in word) return at('nothing', new Int32Array(Float32Array.of(word.float).buffer)[0])
    if ('stride' in word) return at('nothing', rowBytes(word.stride.buffer))
    if ('rows' in word) return at('nothing', 0, Number(word.rows === 'token'), Number(word.rows === 'sequence'))
    if ('constant' in word) return at('nothing', this.constants.get(word.constant)!)
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

/** Bytes that the table of sequences has for each. */
export const sequenceBytes = 4 * sequenceWords.length
