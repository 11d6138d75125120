import { blockOutputs } from '../anatomy/stream.js'
import type { Feeds } from '../engine/session.js'
import type { Graph } from '../ir/graph.js'
import type { Value } from '../ir/node.js'
import type { NumberElements } from '../numbers/dtype.js'
import { numbersOf } from '../numbers/dtype.js'
import { cosineSimilarities } from '../numbers/metrics.js'
import type { CollectContext } from './collect.js'

/** How far a block of a compressed model leaves the residual stream as the original's does. */
export interface BlockAgreement {
  /** The block's name in the original. */
  readonly block: string
  /** Signal to quantization noise ratio of the stream after it, dB; infinite where nothing differs. */
  readonly sqnr: number
  /** Mean cosine of the tokens' vectors. */
  readonly cosine: number
}

/**
 * Compares the residual stream after each block of two models on the same inputs. The first drop names the block to look
 * at. A few large channels can rule the ratio; the cosine counts every token alike.
 *
 * @param batches inputs without padding, as calibration has them
 * @returns in the original's order; blocks without a counterpart of the same width are left out
 * @example
 * await blockAgreement(original, compressed, calibration.batches, context) // [{ block: 'encoder.layer.0', sqnr: 31.2, cosine: 0.9996 }, ...]
 */
export async function blockAgreement(
  original: Graph,
  compressed: Graph,
  batches: readonly { readonly feeds: Feeds }[],
  { open, progress, signal }: CollectContext,
): Promise<BlockAgreement[]> {
  const pairs = pairsOf(blockOutputs(original), blockOutputs(compressed))
  if (!pairs.length) return []
  const sums = pairs.map(() => new Sums())
  const [before, after] = [new Set(pairs.map((pair) => pair.before.name)), new Set(pairs.map((pair) => pair.after.name))].map((names) => [
    ...names,
  ])
  const reference = await open(original, { observe: before })
  const actual = await open(compressed, { observe: after }).catch(async (error: unknown) => {
    await reference.dispose()
    throw error
  })
  const stage = progress.stage('comparing blocks', batches.length)
  try {
    for (const { feeds } of batches) {
      const was = await reference.run(feedsOf(original, feeds), { signal, outputs: before })
      const is = await actual.run(feedsOf(compressed, feeds), { signal, outputs: after })
      for (const [i, pair] of pairs.entries()) sums[i].add(numbersOf(was[pair.before.name]), numbersOf(is[pair.after.name]), pair.width)
      for (const output of [...Object.values(was), ...Object.values(is)]) output.dispose()
      stage.advance()
    }
  } finally {
    stage.end()
    await reference.dispose()
    await actual.dispose()
  }
  return pairs.map(({ block }, i) => ({ block, sqnr: sums[i].sqnr, cosine: sums[i].cosine }))
}

interface Pair {
  readonly block: string
  readonly before: Value
  readonly after: Value
  readonly width: number
}

/** Blocks of one name; where a name is unknown to the other model and both have as many, blocks in order. */
function pairsOf(original: ReadonlyMap<string, Value>, compressed: ReadonlyMap<string, Value>): Pair[] {
  const named = [...original.keys()].every((name) => compressed.has(name))
  const inOrder = !named && original.size === compressed.size ? [...compressed.values()] : null
  return [...original].flatMap(([block, before], i) => {
    const after = inOrder ? inOrder[i] : compressed.get(block)
    const width = before.shape?.at(-1)
    return after && typeof width === 'number' && after.shape?.at(-1) === width ? [{ block, before, after, width }] : []
  })
}

function feedsOf(graph: Graph, feeds: Feeds): Feeds {
  return Object.fromEntries(graph.inputs.map(({ name }) => [name, feeds[name]]))
}

/** Running sums over vectors, in float64. */
class Sums {
  #signal = 0
  #noise = 0
  #cosines = 0
  #rows = 0

  add(reference: NumberElements, actual: NumberElements, width: number): void {
    for (let i = 0; i < reference.length; i++) {
      this.#signal += reference[i] * reference[i]
      this.#noise += (reference[i] - actual[i]) ** 2
    }
    for (const cosine of cosineSimilarities(reference, actual, width)) {
      this.#cosines += cosine
      this.#rows++
    }
  }

  get sqnr(): number {
    return this.#noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(this.#signal / this.#noise)
  }

  get cosine(): number {
    return this.#rows ? this.#cosines / this.#rows : 1
  }
}
