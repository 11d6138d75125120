import { anatomyOf } from '../anatomy/index.js'
import type { Random } from '../base/random.js'
import type { Feeds } from '../engine/session.js'
import { type Dim, evaluateDim } from '../ir/dimension.js'
import type { Graph } from '../ir/graph.js'
import type { Value } from '../ir/node.js'
import { expandAttention, expansionObstacle } from '../nn/attention-spelling.js'
import { Net } from '../nn/net.js'
import { sizeOf } from '../numbers/dtype.js'
import { inferShapes } from '../ops/infer.js'
import { adaptedValue, withoutAdapters } from './adapters/places.js'

/** A mask that the host draws for every step. */
interface Site {
  readonly name: string
  readonly shape: readonly Dim[]
}

/** Probabilities are multiples of 1/256, so that a byte decides over an element. */
const grain = 256

/**
 * Inverted dropout with masks drawn by the seeded generator: a resumed run draws what it would have drawn.
 *
 * Source: Srivastava et al. 2014, section 4; places as in Vaswani et al. 2017, section 5.4.
 */
export class Dropout {
  readonly #threshold: number
  readonly #sites: readonly Site[]

  private constructor(threshold: number, sites: readonly Site[]) {
    this.#threshold = threshold
    this.#sites = sites
  }

  /**
   * Puts dropout into a graph: on attention probabilities, and on what attention and feed-forward add to the residual stream.
   * Attentions are spelled out where that is possible; others keep their probabilities.
   */
  static insert(graph: Graph, probability: number): Dropout {
    const threshold = Math.round(probability * grain)
    if (!threshold) return new Dropout(0, [])
    inferShapes(graph)
    for (const { mixer } of anatomyOf(graph).blocks)
      if (mixer.node.type === 'Attention' && !expansionObstacle(mixer.node)) expandAttention(mixer.node, graph)
    const { blocks } = anatomyOf(withoutAdapters(graph))
    const values = blocks.flatMap(({ mixer, linears }) =>
      [mixer.probabilities, linears.get('o')?.output, linears.get('down')?.output]
        .map((value) => value && graph.value(value.name))
        .flatMap((value) => (value?.shape ? [adaptedValue(value)] : [])),
    )
    return new Dropout(
      threshold,
      values.map((value, i) => insertMask(graph, value, `dropout/${i}`, 1 - threshold / grain)),
    )
  }

  /** The masks of a step, for a batch of the sizes that its feeds have. */
  masks(graph: Graph, feeds: Feeds, random: Random): Feeds {
    if (!this.#sites.length) return {}
    const symbols = sizesOf(graph, feeds)
    return Object.fromEntries(
      this.#sites.map(({ name, shape }) => {
        const sizes = shape.map((dim) => evaluateDim(dim, symbols) ?? 1)
        return [name, { dtype: 'bool', shape: sizes, data: drawMask(sizeOf(sizes), this.#threshold, random.stream(name).bits()) }]
      }),
    )
  }
}

/** Lets everything that used the value use what the mask leaves of it. */
function insertMask(graph: Graph, value: Value, name: string, kept: number): Site {
  const net = new Net(graph)
  const users = [...value.uses]
  const mask = net.input(name, 'bool', value.shape!)
  const place = { before: value.producer!.next ?? undefined }
  const scaled = net.op('Mul', [value, net.float(1 / kept)], {}, place)
  const masked = net.op('Where', [mask, scaled, net.float(0)], {}, place)
  for (const { node, index } of users) node.setInput(index, masked)
  return { name, shape: value.shape! }
}

/** The sizes of symbolic dimensions, from the feeds. */
function sizesOf(graph: Graph, feeds: Feeds): Map<string, number> {
  const sizes = new Map<string, number>()
  for (const input of graph.inputs)
    input.shape?.forEach((dim, axis) => {
      if (typeof dim === 'string' && feeds[input.name]) sizes.set(dim, feeds[input.name].shape[axis])
    })
  return sizes
}

/** 1 where a byte of a xorshift sequence (Marsaglia 2003) is at least the threshold. */
function drawMask(count: number, threshold: number, seed: number): Uint8Array {
  const mask = new Uint8Array(count)
  let state = seed || 1
  for (let i = 0; i < count; i += 4) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    mask[i] = (state & 255) >= threshold ? 1 : 0
    mask[i + 1] = ((state >>> 8) & 255) >= threshold ? 1 : 0
    mask[i + 2] = ((state >>> 16) & 255) >= threshold ? 1 : 0
    mask[i + 3] = state >>> 24 >= threshold ? 1 : 0
  }
  return mask
}
