import type { Runtime, Session } from '../../src/engine/session.js'
import { type DType, type NDArray, ndarray } from '../../src/numbers/dtype.js'
import { matMulChain, type TinyGraph, tinyOnnx } from './tiny-onnx.js'

/** What every runtime must do; free of any test runner, so that a page can run it too. */
export interface Case {
  readonly name: string
  run(runtime: Runtime): Promise<void>
}

function check(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(message)
}

function text(value: unknown): string {
  return JSON.stringify(value, (_, entry) => {
    if (typeof entry === 'bigint') return Number(entry)
    return ArrayBuffer.isView(entry) ? Array.from(entry as unknown as ArrayLike<unknown>) : entry
  })
}

function same(actual: unknown, expected: unknown, what = 'value'): void {
  check(text(actual) === text(expected), `${what}: ${text(actual)} instead of ${text(expected)}`)
}

async function refused(promise: Promise<unknown>, code: string, ...parts: string[]): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (reason: { code: string; sentence: string }) => reason,
  )
  check(error, `not refused: ${code} ${parts.join()}`)
  check(error.code === code && error.sentence, `${code} expected, not ${error.code}: ${String(error)}`)
  for (const part of parts) check(error.sentence.includes(part), `"${part}" is missing in: ${error.sentence}`)
  check(!/\n|onnxruntime::|ONNXRuntimeError/.test(error.sentence), `not a sentence: ${error.sentence}`)
}

async function use<T>(runtime: Runtime, graph: TinyGraph, body: (session: Session) => Promise<T>): Promise<T> {
  const session = await runtime.load({ bytes: tinyOnnx(graph) }, { threads: 1 })
  try {
    return await body(session)
  } finally {
    await session.dispose()
  }
}

const floats = (shape: readonly number[], values: ArrayLike<number>) => ndarray('float32', shape, values)
const raw = (array: Float32Array | BigInt64Array) => new Uint8Array(array.buffer)

/** y = x + [10, 20] and z = y * y */
const affine: TinyGraph = {
  inputs: { x: ['float32', ['batch', 2]] },
  outputs: { y: ['float32', ['batch', 2]], z: ['float32', ['batch', 2]] },
  nodes: [
    { op: 'Add', inputs: ['x', 'shift'], outputs: ['y'] },
    { op: 'Mul', inputs: ['y', 'y'], outputs: ['z'] },
  ],
  constants: [{ name: 'shift', dtype: 'float32', dims: [2], raw: raw(Float32Array.of(10, 20)) }],
}

/** present = past with x appended: a key-value cache. */
const cache: TinyGraph = {
  inputs: { past: ['float32', ['past', 2]], x: ['float32', ['new', 2]] },
  outputs: { present: ['float32', ['total', 2]] },
  nodes: [{ op: 'Concat', inputs: ['past', 'x'], outputs: ['present'], ints: { axis: 0 } }],
}

function transpose(dtype: DType): TinyGraph {
  return {
    inputs: { x: [dtype, ['n', 2]] },
    outputs: { y: [dtype, [2, 'n']] },
    nodes: [{ op: 'Transpose', inputs: ['x'], outputs: ['y'] }],
  }
}

const everywhere = [
  'float32',
  'float64',
  'float16',
  'int64',
  'int32',
  'int16',
  'int8',
  'uint64',
  'uint32',
  'uint16',
  'uint8',
  'bool',
] as const satisfies readonly DType[]
const values: Partial<Record<DType, readonly number[]>> = {
  bool: [0, 1, 1, 1, 0, 0],
  float16: [1.5, -2, 0.0999755859375, 65504, 0, 7],
  bfloat16: [1.5, -2, 0.10009765625, 3, 0, 7],
  int64: [-(2 ** 50), 2 ** 50, 3, 4, 5, 6],
}

const products = { steps: 1500, width: 96 }

/** Feeds of [rows, width] for a chain of small products: the more rows, the longer its run. */
function rowsOf(rows: number): { x: NDArray } {
  return { x: floats([rows, products.width], new Float32Array(rows * products.width).fill(1)) }
}

/** Gives `look` longer and longer runs until it has seen enough, which is when it says true: no machine is too fast. */
async function onLongRuns(runtime: Runtime, look: (session: Session, feeds: { x: NDArray }) => Promise<boolean>): Promise<void> {
  const session = await runtime.load({ bytes: matMulChain(products.steps, products.width) }, { optimization: 'none' })
  try {
    let rows = 16
    while (!(await look(session, rowsOf(rows)))) rows *= 2
  } finally {
    await session.dispose()
  }
}

/** Milliseconds until it settles. */
async function timeOf(promise: Promise<unknown>): Promise<number> {
  const start = performance.now()
  await promise
  return performance.now() - start
}

/** Milliseconds from a signal during a run to the run's rejection; null where the run was over before the signal. */
async function delayOfAbort(session: Session, feeds: { x: NDArray }): Promise<number | null> {
  const controller = new AbortController()
  let fired = 0
  const timer = setTimeout(() => {
    fired = performance.now()
    controller.abort()
  }, 60)
  const run = session.run(feeds, { signal: controller.signal })
  const over = await run.then(
    () => fired === 0,
    () => false,
  )
  clearTimeout(timer)
  if (over) return null
  const delay = performance.now() - fired
  await refused(run, 'interrupted')
  check(fired > 0, 'rejected by the signal')
  return delay
}

/** Cases for every runtime. */
export const cases: Case[] = [
  ...everywhere.map((dtype): Case => {
    return {
      name: `feeds and outputs of ${dtype}`,
      async run(runtime) {
        await use(runtime, transpose(dtype), async (session) => {
          same(
            session.inputs.map((port) => [port.name, port.dtype, port.shape]),
            [['x', dtype, ['n', 2]]],
            'inputs',
          )
          const x = ndarray(dtype, [3, 2], values[dtype] ?? [1, 2, 3, 4, 5, 6])
          const { y } = await session.run({ x })
          const [a, b, c, d, e, f] = Array.from(x.data as Float32Array)
          same([y.dtype, y.shape, y.data.constructor.name], [dtype, [2, 3], x.data.constructor.name])
          same(y.data, [a, c, e, b, d, f], 'y')
        })
      },
    }
  }),
  {
    name: 'strings',
    async run(runtime) {
      const identity: TinyGraph = {
        inputs: { x: ['string', ['n']] },
        outputs: { y: ['string', ['m']] },
        nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
      }
      await use(runtime, identity, async (session) => {
        const { y } = await session.run({ x: { dtype: 'string', shape: [3], data: ['one', '', 'zażółć'] } })
        same(y.data, ['one', '', 'zażółć'])
      })
    },
  },
  {
    name: 'symbolic dimensions take any size, none included',
    async run(runtime) {
      await use(runtime, affine, async (session) => {
        for (const batch of [1, 3, 0]) {
          const { y } = await session.run({ x: floats([batch, 2], new Float32Array(2 * batch).fill(1)) })
          same([y.shape, y.data], [[batch, 2], Array.from({ length: 2 * batch }, (_, i) => (i % 2 ? 21 : 11))])
        }
      })
    },
  },
  {
    name: 'scalars and views into larger memory',
    async run(runtime) {
      const graph: TinyGraph = {
        inputs: { x: ['float32', []], v: ['float32', [2]] },
        outputs: { y: ['float32', [2]], z: ['float32', []] },
        nodes: [
          { op: 'Mul', inputs: ['x', 'v'], outputs: ['y'] },
          { op: 'Add', inputs: ['x', 'x'], outputs: ['z'] },
        ],
      }
      await use(runtime, graph, async (session) => {
        const v: NDArray = { dtype: 'float32', shape: [2], data: Float32Array.of(9, 2, 3, 9).subarray(1, 3) }
        const { y, z } = await session.run({ x: floats([], [5]), v })
        same([y.data, z.shape, z.data], [[10, 15], [], [10]])
      })
    },
  },
  {
    name: 'only the outputs asked for',
    async run(runtime) {
      await use(runtime, affine, async (session) => {
        same(Object.keys(await session.run({ x: floats([1, 2], [1, 2]) })), ['y', 'z'])
        const result = await session.run({ x: floats([1, 2], [1, 2]) }, { outputs: ['z'] })
        same([Object.keys(result), result.z.data], [['z'], [121, 484]])
      })
    },
  },
  {
    name: 'wrong feeds are refused with their names',
    async run(runtime) {
      await use(runtime, affine, async (session) => {
        const x = floats([1, 2], [1, 2])
        await refused(session.run({}), 'bad-input', '"x"', 'float32 [batch, 2]')
        await refused(session.run({ x, xx: x }), 'bad-input', '"xx"', 'Did you mean "x"?')
        await refused(session.run({ x: ndarray('int32', [1, 2], [1, 2]) }), 'bad-input', '"x"', 'float32', 'int32')
        await refused(session.run({ x: floats([2], [1, 2]) }), 'bad-input', '"x"', '[batch, 2]', '[2]')
        await refused(session.run({ x: floats([1, 3], [1, 2, 3]) }), 'bad-input', '"x"', '[1, 3]')
        await refused(session.run({ x: { ...x, shape: [2, 2] } }), 'bad-input', '"x"', '4 elements', '2')
        await refused(session.run({ x: { ...x, data: Int32Array.of(1, 2) } }), 'bad-input', 'Float32Array', 'Int32Array')
        await refused(session.run({ x }, { outputs: ['zz'] }), 'bad-input', '"zz"')
        await refused(session.run({ x }, { outputs: ['y'], into: { z: x } }), 'bad-input', '"z"')
        await refused(session.run({ x }, { into: { z: floats([2], [1, 2]) } }), 'bad-input', '"z"')
        same((await session.run({ x })).y.data, [11, 22])
      })
    },
  },
  {
    name: 'failures of the engine are one sentence',
    async run(runtime) {
      const add: TinyGraph = {
        inputs: { a: ['float32', ['n']], b: ['float32', ['m']] },
        outputs: { y: ['float32', ['k']] },
        nodes: [{ op: 'Add', inputs: ['a', 'b'], outputs: ['y'] }],
      }
      await use(runtime, add, async (session) => {
        await refused(session.run({ a: floats([2], [1, 2]), b: floats([3], [1, 2, 3]) }), 'failed', '2 by 3')
      })
      await refused(runtime.load({ bytes: new Uint8Array(40).fill(9) }), 'bad-input', 'cannot load the graph')
      await refused(runtime.load({ bytes: new Uint8Array(0) }), 'bad-input', 'cannot load the graph')
      const nonsense = { ...transpose('float32'), nodes: [{ op: 'Nonsense', inputs: ['x'], outputs: ['y'] }] }
      await refused(runtime.load({ bytes: tinyOnnx(nonsense) }), 'bad-input', 'Nonsense')
    },
  },
  {
    name: 'outputs fed back, read or not',
    async run(runtime) {
      await use(runtime, cache, async (session) => {
        let past: NDArray = floats([0, 2], [])
        for (let step = 0; step < 6; step++) {
          const { present } = await session.run({ past, x: floats([1, 2], [step, -step]) })
          if (step === 3) same(present.data, [0, 0, 1, -1, 2, -2, 3, -3])
          past = present
        }
        same(
          [past.shape, past.data],
          [
            [6, 2],
            [0, 0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5],
          ],
        )
      })
    },
  },
  {
    name: 'outputs outlive their session and work in another',
    async run(runtime) {
      const y = await use(runtime, affine, async (session) => (await session.run({ x: floats([1, 2], [1, 2]) })).y)
      await use(runtime, affine, async (session) => same((await session.run({ x: y })).y.data, [21, 42]))
      same(y.data, [11, 22])
    },
  },
  {
    name: 'outputs written over given memory',
    async run(runtime) {
      await use(runtime, affine, async (session) => {
        const state = floats([1, 2], [1, 2])
        const { y, z } = await session.run({ x: state }, { into: { y: state } })
        check(y.data === state.data, 'the same array')
        same(
          [state.data, z.data],
          [
            [11, 22],
            [121, 484],
          ],
        )
        const held = (await session.run({ x: floats([1, 2], [1, 2]) }, { outputs: ['y'] })).y
        for (let i = 0; i < 3; i++) await session.run({ x: held }, { outputs: ['y'], into: { y: held } })
        same(held.data, [41, 82])
        await refused(session.run({ x: floats([2, 2], [1, 2, 3, 4]) }, { into: { y: floats([1, 2], [0, 0]) } }), 'failed', 'y')
      })
    },
  },
  {
    name: "a state in the runtime's memory",
    async run(runtime) {
      await use(runtime, affine, async (session) => {
        const memory = new Float32Array(runtime.allocate(24))
        memory.set([0, 1, 2, 3, 4, 5])
        const state: NDArray = { dtype: 'float32', shape: [2, 2], data: memory.subarray(1, 5) }
        const before = runtime.copiedBytes
        const { y } = await session.run({ x: state }, { outputs: ['y'], into: { y: state } })
        check(y.data === state.data, 'the same array')
        same(memory, [0, 11, 22, 13, 24, 5])
        same(runtime.copiedBytes - before, runtime.target === 'ort-wasm' ? 32 : 0, 'copied bytes')
        await session.run({ x: state }, { outputs: ['y'], into: { y: state } })
        same(memory, [0, 21, 42, 23, 44, 5])
        const wrong: NDArray = { dtype: 'float32', shape: [1, 2], data: memory.subarray(0, 2) }
        await refused(session.run({ x: state }, { outputs: ['y'], into: { y: wrong } }), 'failed', 'y')
      })
    },
  },
  {
    name: "a state in the session's memory, where it has some",
    async run(runtime) {
      const memory = await use(runtime, affine, async (session) => {
        const found = await session.allocate?.(5)
        check(Boolean(found) === (runtime.target === 'ort-wasm'), 'memory of its own')
        if (!found) return undefined
        same(found, [0, 0, 0, 0, 0])
        found.set([0, 1, 2, 3, 4])
        const state: NDArray = { dtype: 'float32', shape: [2, 2], data: found.subarray(1) }
        const before = runtime.copiedBytes
        const { y } = await session.run({ x: state }, { outputs: ['y'], into: { y: state } })
        check(y.data === state.data, 'the same array')
        same(found, [0, 11, 22, 13, 24])
        same(runtime.copiedBytes - before, 0, 'copied bytes')
        const { z } = await session.run({ x: state }, { into: { y: state } })
        same(
          [found, z.shape, z.data],
          [
            [0, 21, 42, 23, 44],
            [2, 2],
            [441, 1764, 529, 1936],
          ],
        )
        same(runtime.copiedBytes - before, 16, 'copied bytes')
        await session.run({ x: floats([2, 2], [1, 2, 3, 4]) }, { outputs: ['y'], into: { y: state } })
        same(found, [0, 11, 22, 13, 24])
        const wrong: NDArray = { dtype: 'float32', shape: [1, 2], data: found.subarray(0, 2) }
        await refused(session.run({ x: state }, { outputs: ['y'], into: { y: wrong } }), 'failed')
        await refused(session.run({ x: wrong }, { into: { y: wrong, z: state } }), 'failed')
        same(await session.allocate?.(2 ** 30), undefined)
        return found
      })
      if (!memory) return
      same(memory.subarray(3), [13, 24], 'memory of a session that is gone')
      const state: NDArray = { dtype: 'float32', shape: [1, 2], data: memory.subarray(3) }
      await use(runtime, affine, (session) => session.run({ x: state }, { outputs: ['y'], into: { y: state } }))
      same(memory.subarray(3), [23, 44], 'memory of another session')
    },
  },
  {
    name: 'outputs written over given memory, whatever makes them',
    async run(runtime) {
      const graph: TinyGraph = {
        inputs: { x: ['float32', ['n', 2]], h: ['float16', [2]] },
        outputs: { a: ['float32', ['n', 2]], b: ['float32', ['m']], c: ['float32', [2]], d: ['float16', [2]] },
        nodes: [
          { op: 'Identity', inputs: ['x'], outputs: ['a'] },
          { op: 'Reshape', inputs: ['x', 'flat'], outputs: ['b'] },
          { op: 'Identity', inputs: ['k'], outputs: ['c'] },
          { op: 'Add', inputs: ['h', 'h'], outputs: ['d'] },
        ],
        constants: [
          { name: 'k', dtype: 'float32', dims: [2], raw: raw(Float32Array.of(7, 8)) },
          { name: 'flat', dtype: 'int64', dims: [1], raw: raw(BigInt64Array.of(-1n)) },
        ],
      }
      await use(runtime, graph, async (session) => {
        const into = {
          a: floats([2, 2], [0, 0, 0, 0]),
          b: floats([4], [0, 0, 0, 0]),
          c: floats([2], [0, 0]),
          d: ndarray('float16', [2], [0, 0]),
        }
        await session.run({ x: floats([2, 2], [1, 2, 3, 4]), h: ndarray('float16', [2], [0.5, -3]) }, { into })
        same(
          Object.values(into).map((array) => array.data),
          [
            [1, 2, 3, 4],
            [1, 2, 3, 4],
            [7, 8],
            [1, -6],
          ],
        )
      })
    },
  },
  {
    name: 'external data from memory',
    async run(runtime) {
      const constant = (name: string, location: string, offset: number) => {
        return { name, dtype: 'float32' as const, dims: [2], external: { location, offset, length: 8 } }
      }
      const bytes = tinyOnnx({
        inputs: { x: ['float32', [2]] },
        outputs: { y: ['float32', [2]] },
        nodes: [
          { op: 'Add', inputs: ['x', 'k'], outputs: ['s'] },
          { op: 'Mul', inputs: ['s', 'm'], outputs: ['y'] },
        ],
        constants: [constant('k', 'a.data', 4), constant('m', 'b.data', 0)],
      })
      const external = new Map([
        ['a.data', raw(Float32Array.of(0, 7, 8))],
        ['b.data', raw(Float32Array.of(2, 3))],
      ])
      const session = await runtime.load({ bytes, external })
      same((await session.run({ x: floats([2], [1, 2]) })).y.data, [16, 30])
      await session.dispose()
      await refused(runtime.load({ bytes }), 'bad-input', 'cannot load the graph')
    },
  },
  {
    name: 'constants beside the graph',
    async run(runtime) {
      const constant = (name: string, dtype: DType, location: string, length: number) => {
        return { name, dtype, dims: [2], external: { location, offset: 0, length } }
      }
      const bytes = tinyOnnx({
        inputs: { x: ['float32', [2]] },
        outputs: { y: ['float32', [2]] },
        nodes: [
          { op: 'DequantizeLinear', inputs: ['k', 'scale'], outputs: ['f'] },
          { op: 'Add', inputs: ['x', 'f'], outputs: ['s'] },
          { op: 'Mul', inputs: ['s', 'm'], outputs: ['y'] },
        ],
        constants: [
          constant('k', 'int8', 'one', 2),
          constant('m', 'float32', 'two', 8),
          { name: 'scale', dtype: 'float32', dims: [], raw: raw(Float32Array.of(0.5)) },
        ],
      })
      const constants = [
        { name: 'k', dtype: 'int8' as const, shape: [2], location: 'one', bytes: Uint8Array.of(14, 240) },
        { name: 'm', dtype: 'float32' as const, shape: [2], location: 'two', bytes: raw(Float32Array.of(2, 3)) },
      ]
      const session = await runtime.load({ bytes, constants })
      same((await session.run({ x: floats([2], [1, 2]) })).y.data, [16, -18])
      await session.dispose()
    },
  },
  {
    name: 'runs beside each other',
    async run(runtime) {
      await use(runtime, affine, async (session) => {
        const runs = Array.from({ length: 40 }, (_, i) => session.run({ x: floats([1, 2], [i, i]) }))
        const results = await Promise.all(runs)
        for (let i = 0; i < 40; i++) same(results[i].y.data, [i + 10, i + 20])
      })
    },
  },
  {
    name: 'dispose waits for a run in flight; later runs are refused',
    async run(runtime) {
      const session = await runtime.load({ bytes: matMulChain(400, 64) })
      const x = floats([64, 64], new Float32Array(64 * 64).fill(1))
      const run = session.run({ x })
      await session.dispose()
      await session.dispose()
      same((await run).y.shape, [64, 64])
      await refused(session.run({ x }), 'usage', 'disposed')
    },
  },
  {
    name: 'a signal that has fired already stops before the start',
    async run(runtime) {
      await use(runtime, affine, async (session) => {
        await refused(session.run({ x: floats([1, 2], [1, 2]) }, { signal: AbortSignal.abort() }), 'interrupted')
      })
    },
  },
  {
    name: 'the event loop goes on during a long run',
    async run(runtime) {
      await onLongRuns(runtime, async (session, feeds) => {
        let ticks = 0
        const timer = setInterval(() => ticks++, 1)
        const milliseconds = await timeOf(session.run(feeds))
        clearInterval(timer)
        if (milliseconds < 400) return false
        // Browsers tick every 4 ms.
        check(ticks >= 30, `${ticks} ticks in ${milliseconds} ms`)
        return true
      })
    },
  },
  {
    name: 'an abort ends a long run soon, and only that run',
    async run(runtime) {
      await onLongRuns(runtime, async (session, feeds) => {
        if ((await timeOf(session.run(feeds))) < 600) return false
        const other = session.run(feeds)
        const whole = timeOf(other)
        const beside = await delayOfAbort(session, feeds)
        same((await other).y.shape, feeds.x.shape)
        const alone = await delayOfAbort(session, feeds)
        if (beside === null || alone === null) return false
        for (const delay of [beside, alone])
          check(delay < Math.max(200, (await whole) / 4), `rejected ${delay} ms after the signal; a whole run takes ${await whole} ms`)
        same((await session.run(feeds, { signal: new AbortController().signal })).y.shape, feeds.x.shape)
        return true
      })
    },
  },
]
