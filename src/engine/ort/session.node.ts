import { readFile, rm } from 'node:fs/promises'
import koffi from 'koffi'
import { TinsmithError, throwIfAborted, unsupported, usage } from '../../base/errors.js'
import type { NDArray } from '../../numbers/dtype.js'
import { checkFeeds, wantedOutputs } from '../feeds.js'
import { ArrayOutput } from '../outputs.js'
import type { Feeds, OperatorTime, Output, Port, RunOptions, Session } from '../session.js'
import { onAbort } from './abort.js'
import { check, failure, inBackground, ort, type Pointer, receive, type Status, takeString } from './c-api.node.js'
import { elementType } from './element-types.js'
import { parseProfile } from './profile.js'
import { copyOut, isShared, nativeValue, OrtOutput, outputOf, toValue, Value } from './tensors.node.js'

const forgotten = new FinalizationRegistry<Pointer>((session) => ort().api.ReleaseSession(session))
const inEngine = (array: NDArray) => nativeValue(array) !== undefined

/** A port with its name as a C string. */
interface NativePort extends Port {
  readonly address: Pointer
  readonly bytes: Uint8Array
}

/** What a run lends to ONNX Runtime. */
interface Loan {
  readonly inputs: Value[]
  /** By output; undefined where ONNX Runtime allocates. */
  readonly outputs: (Value | undefined)[]
  /** Names and values in the order of the arguments of OrtApi::Run. */
  readonly arguments: BigUint64Array
}

/** An OrtSession. */
export class NativeSession implements Session {
  readonly engine = 'ort-node'
  readonly inputs: readonly NativePort[]
  readonly outputs: readonly NativePort[]
  private session: Pointer | undefined
  private readonly profileFolder: string | undefined
  private running = 0
  private idle: (() => void)[] = []
  private closing: Promise<void> | undefined
  private profiled: Promise<OperatorTime[]> | undefined

  /**
   * @param session an OrtSession, which this object owns from now on
   * @param profile folder for ONNX Runtime's profile where it writes one; removed at the end
   */
  constructor(session: Pointer, profile?: string) {
    this.session = session
    this.profileFolder = profile
    forgotten.register(this, session, this)
    const { api } = ort()
    this.inputs = ports(session, api.SessionGetInputCount, api.SessionGetInputName, api.SessionGetInputTypeInfo)
    this.outputs = ports(session, api.SessionGetOutputCount, api.SessionGetOutputName, api.SessionGetOutputTypeInfo)
  }

  async run(feeds: Feeds, options: RunOptions = {}): Promise<Record<string, Output>> {
    const session = this.open()
    throwIfAborted(options.signal)
    checkFeeds(this.inputs, feeds, inEngine)
    const wanted = wantedOutputs(this.outputs, options, inEngine) as readonly NativePort[]
    const loan: Loan = {
      inputs: [],
      outputs: [],
      arguments: new BigUint64Array(2 * (this.inputs.length + wanted.length)),
    }
    this.running++
    try {
      this.lend(loan, feeds, wanted, options.into ?? {})
      await this.execute(session, loan, wanted.length, options.signal)
      return this.collect(loan, wanted, options.into ?? {})
    } catch (error) {
      throw failure(error, 'The graph failed in ONNX Runtime', 'failed')
    } finally {
      for (const value of loan.inputs) value.release()
      for (const value of loan.outputs) value?.release()
      if (--this.running === 0) for (const tell of this.idle.splice(0)) tell()
    }
  }

  profile(): Promise<OperatorTime[]> {
    if (!this.profileFolder) return Promise.reject(usage('The session was loaded without "profile: true"'))
    this.profiled ??= this.endProfile()
    return this.profiled
  }

  /** Waits for runs in flight; outputs stay readable. */
  dispose(): Promise<void> {
    this.closing ??= this.close()
    return this.closing
  }

  private open(): Pointer {
    if (!this.session || this.closing) throw usage('The session was disposed')
    return this.session
  }

  private lend(loan: Loan, feeds: Feeds, wanted: readonly NativePort[], into: Readonly<Record<string, NDArray>>): void {
    const { inputs, outputs, arguments: slots } = loan
    const [n, m] = [this.inputs.length, wanted.length]
    for (let i = 0; i < n; i++) {
      const value = toValue(feeds[this.inputs[i].name])
      inputs.push(value)
      slots[i] = this.inputs[i].address
      slots[n + i] = value.pointer
    }
    for (let i = 0; i < m; i++) {
      const array = Object.hasOwn(into, wanted[i].name) ? into[wanted[i].name] : undefined
      const value = array && toValue(array)
      outputs.push(value)
      slots[2 * n + i] = wanted[i].address
      slots[2 * n + m + i] = value?.pointer ?? 0n
    }
  }

  private async execute(session: Pointer, loan: Loan, m: number, signal?: AbortSignal): Promise<void> {
    const { api } = ort()
    const n = loan.inputs.length
    const address = koffi.address(loan.arguments)
    const at = (slot: number) => address + BigInt(8 * slot)
    const options = signal ? receive((out) => api.CreateRunOptions(out)) : 0n
    const stop = onAbort(signal, () => check(api.RunOptionsSetTerminate(options)))
    try {
      const call = (done: (error: unknown, status: Status) => void) =>
        api.Run.async(session, options, at(0), at(n), n, at(2 * n), m, at(2 * n + m), done)
      const status = await inBackground(call, signal)
      if (!signal?.aborted) check(status)
      else {
        if (status) api.ReleaseStatus(status)
        else for (let i = 0; i < m; i++) if (!loan.outputs[i]) api.ReleaseValue(loan.arguments[2 * n + m + i])
        throw new TinsmithError('interrupted', 'Interrupted', { cause: signal.reason })
      }
    } finally {
      stop()
      if (options) api.ReleaseRunOptions(options)
    }
  }

  private collect(loan: Loan, wanted: readonly NativePort[], into: Readonly<Record<string, NDArray>>): Record<string, Output> {
    const first = 2 * loan.inputs.length + wanted.length
    const values = wanted.map((_, i) => loan.outputs[i] ?? new Value(loan.arguments[first + i]))
    const results: Record<string, Output> = {}
    let done = 0
    try {
      for (; done < wanted.length; done++) {
        const { name } = wanted[done]
        const given = loan.outputs[done]
        results[name] = given ? this.written(given, into[name]) : outputOf(values[done])
      }
    } catch (error) {
      for (let i = done + 1; i < wanted.length; i++) if (!loan.outputs[i]) values[i].release()
      for (const output of Object.values(results)) output.dispose()
      throw error
    }
    return results
  }

  private written(value: Value, array: NDArray): Output {
    if (nativeValue(array) === value) return new OrtOutput(value.retain(), array.dtype, array.shape)
    if (!isShared(value, array)) copyOut(value, array)
    return new ArrayOutput(array)
  }

  private async endProfile(): Promise<OperatorTime[]> {
    const session = this.open()
    this.running++
    try {
      const { api, allocator } = ort()
      const out = new BigUint64Array(1)
      check(await inBackground<Status>((done) => api.SessionEndProfiling.async(session, allocator, out, done)))
      return parseProfile(await readFile(takeString(out[0]), 'utf8'))
    } catch (error) {
      throw failure(error, 'The profile cannot be had', 'failed')
    } finally {
      await this.removeProfile()
      if (--this.running === 0) for (const tell of this.idle.splice(0)) tell()
    }
  }

  private async close(): Promise<void> {
    const session = this.open()
    while (this.running) await new Promise<void>((resolve) => this.idle.push(resolve))
    forgotten.unregister(this)
    this.session = undefined
    await inBackground<void>((done) => ort().api.ReleaseSession.async(session, done))
    await this.removeProfile()
  }

  private async removeProfile(): Promise<void> {
    if (this.profileFolder) await rm(this.profileFolder, { recursive: true, force: true })
  }
}

type Counter = (session: Pointer, out: BigUint64Array) => Status
type Namer = (session: Pointer, index: number, allocator: Pointer, out: BigUint64Array) => Status
type Describer = (session: Pointer, index: number, out: BigUint64Array) => Status

function ports(session: Pointer, count: Counter, name: Namer, describe: Describer): NativePort[] {
  const { api, allocator } = ort()
  const length = Number(receive((out) => count(session, out)))
  return Array.from({ length }, (_, index) => {
    const port = takeString(receive((out) => name(session, index, allocator, out)))
    const info = receive((out) => describe(session, index, out))
    try {
      const bytes = new TextEncoder().encode(`${port}\0`)
      return { name: port, ...tensorType(port, info), bytes, address: koffi.address(bytes) }
    } finally {
      api.ReleaseTypeInfo(info)
    }
  })
}

function tensorType(name: string, info: Pointer): Pick<Port, 'dtype' | 'shape'> {
  const { api } = ort()
  const tensor = receive((out) => api.CastTypeInfoToTensorInfo(info, out))
  if (!tensor) throw unsupported(`"${name}" is no tensor; sequences, maps and optional values cannot be fed or read`, { where: name })
  const code = Number(
    BigInt.asUintN(
      32,
      receive((out) => api.GetTensorElementType(tensor, out)),
    ),
  )
  const dtype = elementType(code)
  if (!dtype) throw unsupported(`"${name}" has an element type that is not known here (${code})`, { where: name })
  const rank = Number(receive((out) => api.GetDimensionsCount(tensor, out)))
  const dims = new BigInt64Array(rank)
  const symbols = new BigUint64Array(rank)
  if (rank) {
    check(api.GetDimensions(tensor, dims, rank))
    check(api.GetSymbolicDimensions(tensor, symbols, rank))
  }
  const symbol = (axis: number) => (symbols[axis] ? koffi.decode.string(symbols[axis]) : '') || '?'
  return { dtype, shape: Array.from(dims, (dim, axis) => (dim >= 0n ? Number(dim) : symbol(axis))) }
}
