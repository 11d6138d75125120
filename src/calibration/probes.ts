import { rootConstant } from '../anatomy/index.js'
import { Random } from '../base/random.js'
import type { Feeds, Session } from '../engine/session.js'
import { evaluateDim } from '../ir/dimension.js'
import type { Graph } from '../ir/graph.js'
import type { Value } from '../ir/node.js'
import { type NDArray, ndarray, numbersOf, sizeOf } from '../numbers/dtype.js'

/** Sizes that symbols take in probes. Lengths of the past are 0 in the first probe, so that both branches of a decoder are seen. */
const sizes: Readonly<Record<string, number>> = { batch_size: 2, sequence_length: 7 }
/** With a past: runtimes continue several rows by one token each only. */
const laterSizes: Readonly<Record<string, number>> = { batch_size: 2, sequence_length: 1 }
const otherSize = 3

/**
 * Inputs for a graph, made from nothing but the graph: integers stay below the rows of the tables that they index, masks
 * hold some padding, positions count. Two graphs with the same inputs get the same probes from equal seeds.
 *
 * @param pastLength size of every symbol about the past
 */
export function probe(graph: Graph, random: Random, pastLength = 0): Feeds {
  const symbols = new Map<string, number>()
  const known = pastLength ? laterSizes : sizes
  for (const input of graph.inputs)
    for (const dim of input.shape ?? [])
      if (typeof dim === 'string')
        for (const [name] of dim.matchAll(/[A-Za-z_]\w*/g)) symbols.set(name, /past/.test(name) ? pastLength : (known[name] ?? otherSize))
  return Object.fromEntries(
    graph.inputs.map((input) => {
      const shape = (input.shape ?? []).map((dim) => evaluateDim(dim, symbols) ?? otherSize)
      return [input.name, fill(input, shape, random, pastLength)]
    }),
  )
}

/** Probes of a graph from a seed: without a past, and with one where the graph takes one. */
export function probesOf(graph: Graph, seed: number): Feeds[] {
  const pasts = graph.inputs.some((input) => input.name.startsWith('past')) ? [0, 3] : [0]
  return pasts.map((past) => probe(graph, new Random(seed, `probe ${past}`), past))
}

/** Outputs for each of the feeds. The session is gone before the promise settles, so that only one at a time holds its weights. */
export async function outputsFor(
  feeds: readonly Feeds[],
  opening: Promise<Session>,
  signal?: AbortSignal,
): Promise<Readonly<Record<string, NDArray>>[]> {
  const session = await opening
  try {
    const outputs: Record<string, NDArray>[] = []
    for (const each of feeds) outputs.push(await session.run(each, { signal }))
    return outputs
  } finally {
    await session.dispose()
  }
}

/** The numbers of an output, without what it has for tokens that a padding mask [batch, tokens] hides: that means nothing. */
export function withoutPadding(output: NDArray, mask: NDArray | undefined): ArrayLike<number> {
  const numbers = numbersOf(output)
  const [batch, tokens] = mask?.shape ?? []
  if (!mask || output.shape[0] !== batch || output.shape[1] !== tokens) return numbers
  const width = numbers.length / (batch * tokens)
  return Float64Array.from(numbers).filter((_, i) => Number(mask.data[Math.floor(i / width)]) !== 0)
}

function fill(input: Value, shape: readonly number[], random: Random, past: number): NDArray {
  const count = sizeOf(shape)
  const length = shape.at(-1) ?? 1
  if (input.dtype === 'float32' || input.dtype === 'float16' || input.dtype === 'float64')
    return ndarray(input.dtype, shape, random.normals(count))
  const rows = tableRows(input)
  const use = rows ? 'index' : isPosition(input) ? 'position' : 'mask'
  const values = Array.from({ length: count }, (_, i) => {
    if (use === 'index') return random.integer(rows!)
    if (use === 'position') return past + (i % length)
    // The second row ends in padding.
    return Math.floor(i / length) === 1 && i % length >= length - 2 ? 0 : 1
  })
  return ndarray(input.dtype ?? 'int64', shape, values)
}

/** Rows of the smallest constant table that an input indexes. */
function tableRows(input: Value): number | null {
  let least: number | null = null
  for (const { node, index } of input.uses) {
    const table = node.operator === 'Gather' && index === 1 ? rootConstant(node.input(0)) : null
    const rows = table?.shape?.[0]
    if (typeof rows === 'number' && (least === null || rows < least)) least = rows
  }
  return least
}

function isPosition(input: Value): boolean {
  return input.users.some((node) => node.operator === 'RotaryEmbedding')
}
