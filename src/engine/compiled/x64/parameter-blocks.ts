import type { Plan } from '../plan/plan.js'
import { isView, type RowKind, roundUp, rowBytes, type View } from '../plan/steps.js'
import { viewOffset, type Word } from '../program.js'

type Rows = Readonly<Record<RowKind, number>>

/** Bytes that depend on the numbers of rows: `fixed + token * rows.token + sequence * rows.sequence`. */
export interface Linear {
  readonly fixed: number
  readonly token: number
  readonly sequence: number
}

export function evaluate({ fixed, token, sequence }: Linear, rows: Rows): number {
  return fixed + token * rows.token + sequence * rows.sequence
}

/** A word whose constant has been placed in memory: the address is a number. */
export type PlacedWord = Exclude<Word, { readonly constant: ArrayBufferView }>

/**
 * Memory that runs bring along, and two numbers: `kept` rows of last tokens, 0 in runs that keep all, and `remaining` rows of tokens behind the
 * step `keep`. `number:` and `image:` are followed by the name of an input.
 */
export type Region = 'kept' | 'remaining' | 'arena' | 'scratch' | 'sequences' | 'index' | `number:${string}` | `image:${string}`

/** A word that a run fills in: a place in a region, or a number. */
interface RunWord extends Linear {
  /** Which 64-bit word of all blocks together. */
  readonly place: number
}

/** The blocks of parameters of a plan's kernels, one after the other. */
export class ParameterBlocks {
  /** 64-bit words of all blocks. */
  readonly words: number
  /** The first word of each kernel's block. */
  readonly starts: readonly number[]
  /** Bytes of scratch memory that the steps need, each for itself. */
  readonly scratch: readonly Linear[]
  readonly #known: [place: number, value: number][] = []
  /** By the region in which they are places; undefined for numbers. */
  readonly #runWords = new Map<Region | undefined, RunWord[]>()

  /**
   * @param steps the words of each step's kernels; constants are at their addresses already
   */
  constructor(
    readonly plan: Plan,
    steps: readonly (readonly { readonly words: readonly PlacedWord[] }[])[],
  ) {
    let place = 0
    const starts: number[] = []
    const scratch: Linear[] = []
    const keep = plan.steps.findIndex(({ kind }) => kind === 'keep')
    for (const [i, kernels] of steps.entries()) {
      const tokens = keep >= 0 && i > keep ? 'remaining' : undefined
      const regions = new ScratchRegions()
      for (const { words } of kernels) {
        starts.push(place)
        for (const word of words) this.#add(place++, word, regions, tokens)
      }
      scratch.push(regions.end)
    }
    this.words = place
    this.starts = starts
    this.scratch = scratch
  }

  /** Writes what no run changes. */
  writeKnown(memory: Uint32Array): void {
    for (const [place, value] of this.#known) writeWord(memory, place, value)
  }

  /** Writes what depends on a run: numbers of rows, and the addresses that follow from them. */
  writeRun(memory: Uint32Array, rows: Rows, valueIn: (region: Region) => number): void {
    for (const [region, words] of this.#runWords) {
      const start = region ? valueIn(region) : 0
      for (const word of words) writeWord(memory, word.place, start + evaluate(word, rows))
    }
  }

  #add(place: number, word: PlacedWord, scratch: ScratchRegions, tokens: 'remaining' | undefined): void {
    const known = (value: number) => void this.#known.push([place, value])
    const inRun = (linear: Linear, region?: Region) => {
      const words = this.#runWords.get(region) ?? []
      this.#runWords.set(region, words)
      words.push({ place, ...linear })
    }
    if (typeof word === 'number') known(word)
    else if ('float' in word) known(new Uint32Array(Float32Array.of(word.float).buffer)[0])
    else if ('stride' in word) known(rowBytes(word.stride.buffer))
    else if ('cache' in word) known(cacheOffset(this.plan, word.cache))
    else if ('rows' in word && word.rows === 'kept') inRun(nothing, 'kept')
    else if ('rows' in word && word.rows === 'token' && tokens) inRun(nothing, tokens)
    else if ('rows' in word) inRun({ ...nothing, [word.rows]: 1 })
    else if ('scratch' in word) inRun(scratch.of(word), 'scratch')
    else if ('sequences' in word) inRun(nothing, 'sequences')
    else if (word.address === 'index') inRun(nothing, 'index')
    else if (isView(word.address)) inRun(this.#viewOffset(word.address), 'arena')
    else inRun(nothing, 'image' in word.address ? `image:${word.address.image}` : `number:${word.address.input}`)
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

/** Scratch memory of a step's kernels, one piece behind the other. */
class ScratchRegions {
  readonly #offsets = new Map<PlacedWord, Linear>()
  end = nothing

  of(word: Extract<Word, { scratch: number }>): Linear {
    const known = this.#offsets.get(word)
    if (known) return known
    const offset = this.end
    const bytes = roundUp(word.scratch, 64)
    this.#offsets.set(word, offset)
    this.end = {
      fixed: offset.fixed + overrun + (word.per ? 0 : bytes),
      token: offset.token + (word.per === 'token' ? bytes : 0),
      sequence: offset.sequence + (word.per === 'sequence' ? bytes : 0),
    }
    return offset
  }
}

/** Where the keys or values of a layer begin in a cache, in bytes for each token of its capacity. */
function cacheOffset({ caches }: Plan, { layer, part }: { layer: number; part: 'keys' | 'values' }): number {
  const before = caches.slice(0, layer).reduce((sum, { keyColumns, valueColumns }) => sum + keyColumns + valueColumns, 0)
  return 4 * (before + (part === 'values' ? caches[layer].keyColumns : 0))
}

/** Writes a word of 64 bits; whole numbers up to 2^53 in magnitude. */
export function writeWord(memory: Uint32Array, place: number, value: number): void {
  memory[2 * place] = value
  memory[2 * place + 1] = Math.floor(value / 2 ** 32)
}
