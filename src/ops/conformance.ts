import { type ByteSource, type Folder, readAll } from '../base/bytes.js'
import { badInput, TinsmithError } from '../base/errors.js'
import { type Progress, SilentProgress } from '../base/progress.js'
import type { Graph } from '../ir/graph.js'
import { type DType, isFloat, type NDArray, sizeOf } from '../numbers/dtype.js'
import { inlineFunctions, readOnnx, readTensorProto } from '../onnx/index.js'
import { unpackArchive } from './conformance-archive.js'
import { evaluateGraph } from './evaluate.js'
import { operatorOf } from './index.js'
import { inferShapes } from './infer.js'
import { upgradeGraph } from './upgrade.js'

export interface Failure {
  readonly case: string
  readonly why: string
}

/** What a conformance run found; every case is in one of the three. */
export interface ConformanceReport {
  readonly passed: number
  readonly failed: readonly Failure[]
  /** Cases by the first operator that has no record. */
  readonly unsupported: Readonly<Record<string, number>>
}

/** Relative and absolute tolerance; integers, booleans and strings must be equal. */
interface Tolerance {
  readonly relative: number
  readonly absolute: number
}

const usual: Tolerance = { relative: 1e-3, absolute: 1e-7 }
/** Two steps of the dtype, where that is more than usual. */
const tolerances: Partial<Record<DType, Tolerance>> = {
  float16: { relative: 2 ** -9, absolute: 2 ** -23 },
  bfloat16: { relative: 2 ** -6, absolute: 1e-7 },
}

/**
 * Runs the standard's node tests (`NAME/model.onnx` with `test_data_set_K/{input,output}_N.pb`) through shape rules and
 * reference evaluation. A case passes when all outputs have the expected dtype, shape and elements (floats: 1e-3
 * relative, 1e-7 absolute, two steps for half types; NaN equals NaN; all else exactly) and what the shape rules say
 * before the run is true of them.
 *
 * @param source the folder, or the archive `.tar.gz`
 * @throws TinsmithError `bad-input` when there is no case in it
 * @example
 * const { passed, failed, unsupported } = await conformance(await folder.open('onnx-node-tests.tar.gz'))
 */
export async function conformance(source: Folder | ByteSource, progress: Progress = new SilentProgress()): Promise<ConformanceReport> {
  const folder = 'list' in source ? source : await unpackArchive(source)
  const files = await folder.list()
  const models = files.filter((path) => /(^|\/)model\.onnx$/.test(path))
  if (!models.length) throw badInput('there is no NAME/model.onnx in it', { where: folder.name })
  const stage = progress.stage('conformance', models.length)
  const failed: Failure[] = []
  const unsupported: Record<string, number> = {}
  const dataSets = dataSetsOf(files)
  let passed = 0
  for (const path of models) {
    const root = path.slice(0, -'model.onnx'.length)
    const name = root.replace(/\/$/, '').replace(/^.*\//, '')
    try {
      const missing = await runCase(folder, path, dataSets.get(root) ?? new Map())
      if (missing) unsupported[missing] = (unsupported[missing] ?? 0) + 1
      else passed++
    } catch (error) {
      failed.push({ case: name, why: error instanceof TinsmithError ? error.sentence : String(error) })
    }
    stage.advance()
  }
  stage.end()
  return { passed, failed, unsupported: Object.fromEntries(Object.entries(unsupported).sort(([a], [b]) => (a < b ? -1 : 1))) }
}

/** Test data by the folder of the case, then by the name of the data set. */
function dataSetsOf(files: readonly string[]): Map<string, Map<string, string[]>> {
  const sets = new Map<string, Map<string, string[]>>()
  for (const path of files) {
    const match = path.match(/^(.*?)(test_data_set_\d+)\/(input|output)_\d+\.pb$/)
    if (!match) continue
    const [, root, set] = match
    if (!sets.has(root)) sets.set(root, new Map())
    const paths = sets.get(root)!
    paths.set(set, [...(paths.get(set) ?? []), path])
  }
  return sets
}

/** Runs a case; the name of an operator without a record, or null when it passed. Throws when it failed. */
async function runCase(folder: Folder, path: string, dataSets: ReadonlyMap<string, readonly string[]>): Promise<string | null> {
  const model = await readOnnx(await folder.open(path))
  inlineFunctions(model)
  const { graph } = model
  const missing = upgraded(graph)
  if (missing) return missing
  forgetInferred(graph)
  inferShapes(graph)
  if (!dataSets.size) throw badInput('there is no test data')
  for (const paths of dataSets.values()) {
    const inputs = await readArrays(folder, paths, 'input')
    const feeds = Object.fromEntries(graph.inputs.flatMap((input, i) => (inputs[i] ? [[input.name, inputs[i]]] : [])))
    const results = await evaluateGraph(graph, feeds)
    const expected = await readArrays(folder, paths, 'output')
    if (expected.length !== graph.outputs.length)
      throw badInput(`there are ${expected.length} expected outputs and ${graph.outputs.length} in the graph`)
    graph.outputs.forEach((output, i) => {
      compareArrays(results[output.name], expected[i], output.name)
      checkInferred(output, expected[i])
    })
  }
  return null
}

/** Brings a graph into today's form; the name of an operator without a record stops it. */
function upgraded(graph: Graph): string | null {
  try {
    upgradeGraph(graph)
  } catch (error) {
    const missing = missingOperator(graph)
    if (missing) return missing
    throw error
  }
  return missingOperator(graph)
}

function missingOperator(graph: Graph): string | null {
  for (const node of graph.allNodes()) if (!operatorOf(node)) return node.type
  return null
}

/** Forgets what the file says of computed values, so that the shape rules must find it. */
function forgetInferred(graph: Graph): void {
  for (const node of graph.allNodes())
    for (const output of node.outputs) {
      output.dtype = null
      output.shape = null
    }
}

async function readArrays(folder: Folder, paths: readonly string[], kind: 'input' | 'output'): Promise<NDArray[]> {
  const arrays: NDArray[] = []
  for (const path of paths) {
    const index = path.match(`${kind}_(\\d+)\\.pb$`)?.[1]
    if (index === undefined) continue
    const { tensor } = readTensorProto(await readAll(await folder.open(path)), path)
    arrays[Number(index)] = await tensor.array()
  }
  return arrays
}

/**
 * Compares an array with the expected one.
 *
 * @throws TinsmithError `difference` with the first element that differs
 */
export function compareArrays(got: NDArray | undefined, expected: NDArray, name: string): void {
  const differ = (what: string) => new TinsmithError('difference', `${name} ${what}`)
  if (!got) throw differ('was not computed')
  if (got.dtype !== expected.dtype) throw differ(`is ${got.dtype} and must be ${expected.dtype}`)
  if (String(got.shape) !== String(expected.shape)) throw differ(`has shape [${got.shape}] and must have [${expected.shape}]`)
  if (got.data.length !== expected.data.length)
    throw differ(`has ${got.data.length} elements for shape [${got.shape}] of ${sizeOf(got.shape)}`)
  const tolerance = isFloat(expected.dtype) || expected.dtype.startsWith('complex') ? (tolerances[expected.dtype] ?? usual) : null
  for (let i = 0; i < expected.data.length; i++) {
    const [have, want] = [got.data[i], expected.data[i]]
    const same = tolerance ? isClose(have as number, want as number, tolerance) : have === want
    if (!same) throw differ(`differs at element ${i}: ${have} instead of ${want}`)
  }
}

function isClose(got: number, expected: number, { relative, absolute }: Tolerance): boolean {
  if (Object.is(got, expected) || got === expected) return true
  return Number.isFinite(got) && Number.isFinite(expected) && Math.abs(got - expected) <= absolute + relative * Math.abs(expected)
}

function checkInferred(output: Graph['outputs'][number], actual: NDArray): void {
  const differ = (what: string) => new TinsmithError('difference', `the shape rule says that ${output.name} ${what}`)
  if (output.dtype !== actual.dtype) throw differ(`is ${output.dtype ?? 'of unknown dtype'} and it is ${actual.dtype}`)
  if (!output.shape) return
  const agrees =
    output.shape.length === actual.shape.length && output.shape.every((dim, axis) => typeof dim === 'string' || dim === actual.shape[axis])
  if (!agrees) throw differ(`has shape [${output.shape}] and it has [${actual.shape}]`)
}
