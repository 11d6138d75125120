import { runtime } from '#engine'
import { type Folder, readAll } from '../base/bytes.js'
import { TinsmithError, throwIfAborted } from '../base/errors.js'
import { outputsFor, probesOf } from '../calibration/probes.js'
import { openGraph } from '../engine/open.js'
import type { Session } from '../engine/session.js'
import type { Graph } from '../ir/graph.js'
import type { Model } from '../ir/model.js'
import { printGraph } from '../ir/print.js'
import type { Tensor } from '../ir/tensor.js'
import { type NDArray, numbersOf } from '../numbers/dtype.js'
import { readOnnx } from '../onnx/index.js'
import { raise } from '../raise/index.js'
import type { GraphFile } from './graph-files.js'

/** Graphs beyond it are not run, only read. */
const largestRun = 2e9
/** Largest difference over largest output between two runs of the same graph. */
const tolerance = 2e-5

export interface ReadBackOptions {
  readonly seed?: number
  readonly signal?: AbortSignal
}

/**
 * Proves that files hold what was meant: each is read again and compared tensor by tensor and node by node with the lowered graph, raised
 * and compared with the canonical one, and run beside it on probe inputs.
 *
 * @throws TinsmithError `difference` naming the file and what differs
 */
export async function readBack(model: Model, files: readonly GraphFile[], folder: Folder, options: ReadBackOptions = {}): Promise<void> {
  for (const { name, path, lowered } of files) {
    const below = path.slice(0, path.lastIndexOf('/') + 1)
    const read = await readOnnx(await folder.open(path), { external: (location) => folder.open(below + location) })
    await compareConstants(lowered, read.graph, path, options.signal)
    compareTexts(lowered, read.graph, path, 'written')
    raise(read.graph)
    const meant = model.graphs.get(name)!
    compareTexts(meant, read.graph, path, 'raised')
    if (bytesOf(lowered) < largestRun) await compareRuns(meant, path, folder, options)
  }
}

/** Bytes of all constants of a graph. */
function bytesOf(graph: Graph): number {
  return [...graph.constants.values()].reduce((sum, constant) => sum + constant.tensor!.byteLength, 0)
}

async function compareConstants(meant: Graph, read: Graph, path: string, signal?: AbortSignal): Promise<void> {
  for (const [name, { tensor }] of meant.constants) {
    throwIfAborted(signal)
    const found = read.constants.get(name)?.tensor
    if (!found) throw differs(path, `the tensor ${name} is not in the file`)
    if (found.dtype !== tensor!.dtype || found.shape.join() !== tensor!.shape.join())
      throw differs(path, `the tensor ${name} is ${found.dtype}[${found.shape}] and should be ${tensor!.dtype}[${tensor!.shape}]`)
    if (!(await sameContents(tensor!, found))) throw differs(path, `the tensor ${name} has other elements`)
  }
}

async function sameContents(a: Tensor, b: Tensor): Promise<boolean> {
  if (a.dtype === 'string') return JSON.stringify(await a.read()) === JSON.stringify(await b.read())
  const [x, y] = [await a.bytes(), await b.bytes()]
  return x.length === y.length && equalBytes(x, y)
}

function equalBytes(x: Uint8Array, y: Uint8Array): boolean {
  const [a, b] = [words(x), words(y)]
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  for (let i = x.length - (x.length % 4); i < x.length; i++) if (x[i] !== y[i]) return false
  return true
}

/** The whole words of four bytes. */
function words(bytes: Uint8Array): Uint32Array {
  const aligned = bytes.byteOffset % 4 ? bytes.slice() : bytes
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length >> 2)
}

function compareTexts(meant: Graph, read: Graph, path: string, form: 'written' | 'raised'): void {
  const [expected, got] = [linesOf(meant), linesOf(read)]
  const at = expected.findIndex((line, i) => line !== got[i])
  if (at < 0 && expected.length === got.length) return
  const [want, have] = [expected, got].map((lines) => shorten(lines[Math.max(at, 0)]))
  throw differs(path, `the ${form} graph reads ${have} where ${want} was meant`)
}

/** The graph's text without the elements of tensors, of which the text shows those only that lie in memory. */
function linesOf(graph: Graph): string[] {
  const [, ...body] = printGraph(graph).split('\n')
  const head = graph.inputs.map((input) => `${input.name}: ${input.dtype}[${input.shape?.join(', ')}]`).join(', ')
  return [
    head,
    ...body.map((line) => line.replace(/^(\s*const .*?\]?) = .*$/, '$1').replace(/(\w+\[[^\]]*\])(?:<stored>|\{[^}]*\})/g, '$1')),
  ]
}

function shorten(line: string | undefined): string {
  const text = (line ?? 'nothing').trim()
  return text.length > 160 ? `${text.slice(0, 160)} ...` : text
}

async function compareRuns(meant: Graph, path: string, folder: Folder, { seed = 0, signal }: ReadBackOptions): Promise<void> {
  const feeds = probesOf(meant, seed)
  const [wanted, got] = await Promise.all([openGraph(meant), loadFile(folder, path)].map((opening) => outputsFor(feeds, opening, signal)))
  for (const [i, outputs] of wanted.entries())
    for (const name of Object.keys(outputs)) compareOutput(outputs[name], got[i][name], name, path)
}

function compareOutput(want: NDArray, got: NDArray | undefined, name: string, path: string): void {
  if (got?.shape.join() !== want.shape.join()) throw differs(path, `its output ${name} has another shape when it runs`)
  if (want.dtype === 'string') return
  const [a, b] = [numbersOf(want), numbersOf(got)]
  let [most, worst] = [0, 0]
  for (let i = 0; i < a.length; i++) {
    if (Number.isFinite(a[i])) most = Math.max(most, Math.abs(a[i]))
    if (Object.is(a[i], b[i])) continue
    const difference = Math.abs(a[i] - b[i])
    if (!(difference <= worst)) worst = difference
  }
  if (!(worst <= tolerance * most)) throw differs(path, `its output ${name} differs by ${worst.toExponential(1)} when it runs`)
}

/** Loads an ONNX file of a folder, external data included. */
export async function loadFile(folder: Folder, path: string): Promise<Session> {
  const below = path.slice(0, path.lastIndexOf('/') + 1)
  const external = new Map<string, Uint8Array>()
  for (const file of await folder.list())
    if (file.startsWith(`${path}_data`)) external.set(file.slice(below.length), await readAll(await folder.open(file)))
  return runtime.load({ bytes: await readAll(await folder.open(path)), external })
}

function differs(where: string, what: string): TinsmithError {
  return new TinsmithError('difference', `the file is not what was meant to be written: ${what}`, {
    where,
    hint: 'This is a bug of Tinsmith or a fault of the disk; nothing was kept.',
  })
}
