import { MemorySource } from '../../src/base/bytes.js'
import { SilentProgress } from '../../src/base/progress.js'
import { Random } from '../../src/base/random.js'
import type { Calibration } from '../../src/calibration/calibration.js'
import { calibrationFromTokens } from '../../src/calibration/from-text.js'
import { probe, withoutPadding } from '../../src/calibration/probes.js'
import { openGraph } from '../../src/engine/open.js'
import type { Feeds } from '../../src/engine/session.js'
import type { Graph } from '../../src/ir/graph.js'
import { printGraph } from '../../src/ir/print.js'
import { ArrayTensor } from '../../src/ir/tensor.js'
import { isInteger, type NDArray } from '../../src/numbers/dtype.js'
import { encodeOnnx, readOnnx } from '../../src/onnx/index.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import type { PassContext } from '../../src/passes/index.js'
import type { RunContext } from '../../src/recipes/run.js'

/** A graph after a trip through an ONNX file in memory. */
export async function throughFile(graph: Graph): Promise<Graph> {
  return (await readOnnx(new MemorySource(await encodeOnnx(graph), 'model.onnx'))).graph
}

/** The text of a graph with the elements of all constants, wherever they lie. */
export async function wholeText(graph: Graph): Promise<string> {
  const copy = graph.clone()
  for (const constant of copy.constants.values())
    copy.setTensor(constant, new ArrayTensor(constant.dtype!, constant.tensor!.shape, await constant.tensor!.read()))
  return printGraph(copy)
}

/** Inputs for a graph from a seed; decoders with something in the cache too. */
export function probes(graph: Graph, seed = 1): Feeds[] {
  const pasts = graph.inputs.some((input) => input.name.startsWith('past')) ? [0, 3] : [0]
  return pasts.map((past) => probe(graph, new Random(seed, `probe ${past}`), past))
}

/** max|a - b| over max|b|, over all arrays of `expected`; NaN counts as infinite. What `mask` hides is left out. */
export function farthest(got: Readonly<Record<string, NDArray>>, expected: Readonly<Record<string, NDArray>>, mask?: NDArray): number {
  let worst = 0
  for (const [name, array] of Object.entries(expected)) {
    const [a, b] = [withoutPadding(got[name], mask), withoutPadding(array, mask)]
    if (got[name].shape.join() !== array.shape.join()) throw new Error(`${name}: [${got[name].shape}] instead of [${array.shape}]`)
    let [most, difference] = [0, 0]
    for (let i = 0; i < b.length; i++) {
      most = Math.max(most, Math.abs(b[i]))
      const d = Math.abs(a[i] - b[i])
      difference = d <= difference ? difference : Number.isNaN(d) ? Number.POSITIVE_INFINITY : d
    }
    worst = Math.max(worst, most ? difference / most : difference)
  }
  return worst
}

/** How far two graphs with the same inputs are apart by the reference evaluation; outputs by name, those of the second. */
export async function distanceOf(got: Graph, expected: Graph, feeds = probes(expected)): Promise<number> {
  let worst = 0
  for (const feed of feeds) worst = Math.max(worst, farthest(await evaluateGraph(got, feed), await evaluateGraph(expected, feed)))
  return worst
}

/** Calibration of random tokens, a few rows of two lengths; of random images for graphs that take these. */
export async function randomCalibration(graph: Graph, vocabulary: number, seed = 5, rows = 8): Promise<Calibration> {
  const random = new Random(seed, 'calibration')
  if (graph.inputs.some((input) => input.name === 'pixel_values')) {
    const batches = Array.from({ length: rows / 2 }, (_, i) => ({ feeds: probe(graph, random.stream(`${i}`)), special: new Uint8Array() }))
    return { batches, samples: rows, origin: 'random images', hash: `images ${seed}` }
  }
  const encoded = Array.from({ length: rows }, (_, i) => {
    const ids = Array.from({ length: i % 2 ? 9 : 12 }, () => random.integer(vocabulary))
    return { ids, types: ids.map(() => 0), special: ids.map((_, at) => (at === 0 ? 1 : 0)) }
  })
  return calibrationFromTokens(encoded, graph, 0, 'random tokens')
}

/** What passes may use, on the real engine. */
export function passContext(calibration: Calibration | null = null, seed = 0): PassContext {
  return { open: openGraph, calibration, random: new Random(seed), progress: new SilentProgress(), signal: undefined }
}

/** What recipes may use, on the real engine. */
export function runContext(calibration: Calibration | null = null, seed = 0): RunContext {
  return { open: openGraph, calibration, seed, progress: new SilentProgress(), signal: undefined, store: null }
}

/** Bytes of integer constants of two dimensions or more, by name. */
export async function codes(graph: Graph): Promise<Record<string, string>> {
  const entries: [string, string][] = []
  for (const [name, { tensor }] of graph.constants)
    if (tensor!.shape.length >= 2 && isInteger(tensor!.dtype)) entries.push([name, Buffer.from(await tensor!.bytes()).toString('base64')])
  return Object.fromEntries(entries.sort())
}
