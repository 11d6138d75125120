import type { Dim } from '../../../ir/dimension.js'
import type { Graph } from '../../../ir/graph.js'
import type { Value } from '../../../ir/node.js'
import { dtypes, type NDArray, sizeOf } from '../../../numbers/dtype.js'
import { evaluateGraph } from '../../../ops/evaluate.js'

/** Which keys a query sees, padding aside. */
export interface MaskKind {
  readonly causal: boolean
  readonly window?: number
}

/** Tokens of the two sequences that masks are tried with, and how many lie in the cache. */
interface Probe {
  readonly lengths: readonly [number, number]
  readonly past: number
}

/** A negative number that a softmax makes zero of. */
const masked = -1e4

/**
 * What kind of mask a value is, found by computing it for sequences with padding and with a cache; undefined where it fits none.
 */
export async function maskKind(mask: Value, graph: Graph): Promise<MaskKind | undefined> {
  const kinds = new Set<string>()
  const hasCache = graph.inputs.some((input) => isCache(input))
  for (const probe of [{ lengths: [5, 3], past: 0 }, ...(hasCache ? [{ lengths: [3, 3], past: 4 } as const] : [])] as Probe[]) {
    const visible = await visibility(mask, graph, probe)
    const fits = [false, true].filter((causal) => agrees(visible, probe, { causal }))
    if (!fits.length) return undefined
    if (fits.length === 1) kinds.add(String(fits[0]))
  }
  if (kinds.size !== 1) return undefined
  const causal = kinds.has('true')
  return { causal, window: causal ? await windowOf(mask, graph, hasCache) : undefined }
}

/** How many keys the last query sees where there are more than any number in the mask, if not all. */
async function windowOf(mask: Value, graph: Graph, hasCache: boolean): Promise<number | undefined> {
  const part = graph.extract(graph.inputs, [mask])
  const constants = [...part.constants.values()].flatMap(({ tensor }) => Array.from((tensor!.elements ?? []) as ArrayLike<number>, Number))
  const largest = Math.max(0, ...constants.filter((number) => number > 1 && number <= (hasCache ? 2 ** 20 : 2 ** 10)))
  if (!largest) return undefined
  const keys = 2 * largest + 2
  const probe: Probe = hasCache ? { lengths: [1, 1], past: keys - 1 } : { lengths: [keys, keys], past: 0 }
  const visible = await visibility(mask, graph, probe)
  let window = 0
  for (let key = 0; key < keys; key++) if (visible(0, probe.lengths[0] - 1, key)) window++
  return window < keys ? window : undefined
}

type Visibility = (sequence: number, query: number, key: number) => boolean

function agrees(visible: Visibility, { lengths, past }: Probe, { causal }: MaskKind): boolean {
  return lengths.every((length, sequence) => {
    for (let query = 0; query < length; query++)
      for (let key = 0; key < past + Math.max(...lengths); key++) {
        const expected = key < past + length && (!causal || key <= past + query)
        if (visible(sequence, query, key) !== expected) return false
      }
    return true
  })
}

async function visibility(mask: Value, graph: Graph, probe: Probe): Promise<Visibility> {
  const part = graph.extract(graph.inputs, [mask])
  const feeds = Object.fromEntries(graph.inputs.map((input) => [input.name, probeFeed(input, probe)]))
  const { data, shape } = (await evaluateGraph(part, feeds))[mask.name]
  const [batches, queries, keys] = [shape.at(-4) ?? 1, shape.at(-2) ?? 1, shape.at(-1)!]
  const heads = shape.at(-3) ?? 1
  const at = (index: number, size: number) => (size === 1 ? 0 : index)
  const isVisible = (value: number) => (mask.dtype === 'bool' ? value !== 0 : value > masked)
  return (sequence, query, key) =>
    isVisible(Number(data[(at(sequence, batches) * heads * queries + at(query, queries)) * keys + at(key, keys)]))
}

function isCache({ shape, dtype }: Value): boolean {
  return shape?.length === 4 && dtype === 'float32' && typeof shape[2] === 'string'
}

/** Two sequences, the second shorter: padded behind, with mask and positions as clients give them. */
function probeFeed(input: Value, { lengths, past }: Probe): NDArray {
  const longest = Math.max(...lengths)
  const dims: Dim[] = [...(input.shape ?? [])]
  dims[0] = 2
  if (dims.length === 2) dims[1] = String(dims[1]).includes(' + ') ? past + longest : longest
  if (dims.length === 4 && isCache(input)) dims[2] = past
  const shape = dims.map((dim) => (typeof dim === 'number' ? dim : longest))
  const data = new dtypes[input.dtype as 'int64'].array(sizeOf(shape))
  if (data instanceof BigInt64Array && shape.length === 2)
    data.forEach((_, i) => {
      const [sequence, place] = [Math.floor(i / shape[1]), i % shape[1]]
      const end = lengths[sequence] + (shape[1] > longest ? past : 0)
      data[i] = input.name.includes('position') ? BigInt(past + place) : BigInt(place < end ? 1 : 0)
    })
  return { dtype: input.dtype!, shape, data }
}
