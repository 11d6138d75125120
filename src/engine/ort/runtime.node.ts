import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import koffi from 'koffi'
import { usage } from '../../base/errors.js'
import type { LoadOptions, OnnxModel, Runtime, Session } from '../session.js'
import { check, failure, inBackground, ort, type Pointer, receive, type Status } from './c-api.node.js'
import { NativeSession } from './session.node.js'
import { valueOver } from './tensors.node.js'

const levels = { none: 0, basic: 1, extended: 2, all: 99 } as const

/**
 * ONNX Runtime in Node.js: the library that onnxruntime-node ships, through its C API.
 *
 * Loading and running happen on libuv's worker threads, so the event loop goes on; one thread of that pool is left free,
 * so at most UV_THREADPOOL_SIZE - 1 (3) runs of a process are in flight, further ones wait. Feeds are read where they
 * lie: do not change or transfer their memory before the run has settled. Outputs stay in ONNX Runtime's memory until
 * their `data` is read. An abort ends the run after the operator that is at work.
 *
 * `settings` are ONNX Runtime's session configuration entries (`session.intra_op.allow_spinning`, ...).
 *
 * @throws TinsmithError `unsupported` on platforms for which onnxruntime-node has no library
 */
export const runtime: Runtime = {
  name: 'ONNX Runtime',
  target: 'ort-node',
  get version() {
    return ort().version
  },
  copiedBytes: 0,
  allocate: (bytes) => new ArrayBuffer(bytes),
  load,
  withOwnOperators: async (graph, observed) => (await ownOperators()).withOwnOperators(graph, observed),
}

/** Only sessions with `machineCode` need them. */
const ownOperators = () => import('./own-operators.node.js')

async function load(model: OnnxModel, options: LoadOptions = {}): Promise<Session> {
  const threads = options.threads ?? Math.min(8, availableParallelism())
  if (!Number.isInteger(threads) || threads < 1) throw usage(`threads must be a whole number of 1 or more, not ${threads}`)
  const { api } = ort()
  const profile = options.profile ? await mkdtemp(join(tmpdir(), 'tinsmith-profile-')) : undefined
  const where = 'path' in model ? model.path : undefined
  let settings: Pointer | undefined
  let session: Pointer | undefined
  try {
    settings = receive((out) => api.CreateSessionOptions(out))
    check(api.SetIntraOpNumThreads(settings, threads))
    check(api.SetSessionGraphOptimizationLevel(settings, levels[options.optimization ?? 'all']))
    if (options.memoryPlan === false) check(api.DisableMemPattern(settings))
    for (const [key, value] of Object.entries(options.settings ?? {})) check(api.AddSessionConfigEntry(settings, key, value))
    const own = options.machineCode ? (await ownOperators()).ownOperatorDomain() : null
    if (own) check(api.AddCustomOpDomain(settings, own))
    if (profile) check(api.EnableProfiling(settings, join(profile, 'ort')))
    session = await create(model, settings)
    return new NativeSession(session, profile)
  } catch (error) {
    if (profile) await rm(profile, { recursive: true, force: true })
    throw failure(error, 'ONNX Runtime cannot load the graph', 'bad-input', where)
  } finally {
    if (settings) api.ReleaseSessionOptions(settings)
  }
}

async function create(model: OnnxModel, settings: Pointer): Promise<Pointer> {
  const { api, env } = ort()
  const out = new BigUint64Array(1)
  const address = koffi.address(out)
  if ('path' in model) {
    check(await inBackground<Status>((done) => api.CreateSession.async(env, resolve(model.path), settings, address, done)))
    return out[0]
  }
  const { bytes, external, constants = [] } = model
  if (external?.size) {
    const files = [...external.values()]
    const addresses = BigUint64Array.from(files, (file) => (file.length ? koffi.address(file) : address))
    const lengths = BigUint64Array.from(files, (file) => BigInt(file.length))
    check(api.AddExternalInitializersFromFilesInMemory(settings, [...external.keys()], addresses, lengths, files.length))
  }
  const values = constants.map(({ dtype, shape, bytes: elements }) => valueOver(dtype, shape, elements))
  try {
    const names = constants.map(({ name }) => name)
    const pointers = BigUint64Array.from(values, (value) => value.pointer)
    if (values.length) check(api.AddExternalInitializers(settings, names, pointers, values.length))
    const start = bytes.length ? koffi.address(bytes) : address
    const call = (done: (error: unknown, status: Status) => void) =>
      api.CreateSessionFromArray.async(env, start, bytes.length, settings, address, done)
    check(await inBackground(call))
    return out[0]
  } finally {
    for (const value of values) value.release()
  }
}
