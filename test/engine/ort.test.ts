import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseProfile } from '../../src/engine/ort/profile.js'
import { placeWebRuntime, runtime as web } from '../../src/engine/ort/runtime.browser.js'
import { runtime as node } from '../../src/engine/ort/runtime.node.js'
import { type DType, ndarray } from '../../src/numbers/dtype.js'
import { cases } from './cases.js'
import { matMulChain, tinyOnnx } from './tiny-onnx.js'
import { buildWorker } from './web-worker.js'

const require = createRequire(import.meta.url)
const packageVersion = (name: string) => (require(`../../node_modules/${name}/package.json`) as { version: string }).version
const ones = (rows: number, columns: number) => ndarray('float32', [rows, columns], new Float32Array(rows * columns).fill(1))

describe('ONNX Runtime in Node', () => {
  for (const { name, run } of cases) test(name, () => run(node))

  test('tells its version', () => {
    expect(node.version).toBe(packageVersion('onnxruntime-node'))
    expect(node.target).toBe('ort-node')
  })

  test.each<[DType, number[]]>([
    ['bfloat16', [1.5, -2, 3, 0.5]],
    ['float8e4m3fn', [1.5, -2, 3, 0.5]],
    ['int4', [-8, 7, 0, 3]],
    ['uint4', [15, 7, 0, 3]],
  ])('feeds and outputs of %s', async (dtype, values) => {
    const bytes = tinyOnnx({
      inputs: { x: [dtype, [2, 2]] },
      outputs: { y: [dtype, [2, 2]] },
      nodes: [{ op: 'Transpose', inputs: ['x'], outputs: ['y'] }],
    })
    const session = await node.load({ bytes })
    const { y } = await session.run({ x: ndarray(dtype, [2, 2], values) })
    expect(Array.from(y.data as Float32Array)).toEqual([values[0], values[2], values[1], values[3]])
    await session.dispose()
  })

  test('unread outputs stay in the engine until disposed', async () => {
    const session = await node.load({ bytes: matMulChain(1, 16) })
    const { y } = await session.run({ x: ones(4, 16) })
    const again = await session.run({ x: y })
    y.dispose()
    expect(() => y.data).toThrow(/disposed/)
    await expect(session.run({ x: y })).rejects.toThrow(/disposed/)
    again.y.dispose()
    again.y.dispose()
    const read = (await session.run({ x: ones(4, 16) })).y
    const { data } = read
    read.dispose()
    expect(read.data).toBe(data)
    await session.dispose()
  })

  test('loads a file with external data beside it', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tinsmith-żółw-'))
    try {
      const bytes = tinyOnnx({
        inputs: { x: ['float32', [2]] },
        outputs: { y: ['float32', [2]] },
        nodes: [{ op: 'Add', inputs: ['x', 'k'], outputs: ['y'] }],
        constants: [{ name: 'k', dtype: 'float32', dims: [2], external: { location: 'model.onnx_data', offset: 8, length: 8 } }],
      })
      await writeFile(join(folder, 'model.onnx'), bytes)
      await expect(node.load({ path: join(folder, 'model.onnx') })).rejects.toMatchObject({
        code: 'bad-input',
        where: join(folder, 'model.onnx'),
      })
      await writeFile(join(folder, 'model.onnx_data'), new Uint8Array(Float32Array.of(0, 0, 7, 8).buffer))
      const session = await node.load({ path: join(folder, 'model.onnx') })
      const { y } = await session.run({ x: ndarray('float32', [2], [1, 2]) })
      expect(Array.from(y.data as Float32Array)).toEqual([8, 10])
      await session.dispose()
      await expect(node.load({ path: join(folder, 'none.onnx') })).rejects.toMatchObject({ code: 'bad-input' })
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  test('profiles by node and leaves no file behind', async () => {
    const profiles = async () => (await readdir(tmpdir())).filter((name) => name.startsWith('tinsmith-profile-')).length
    const before = await profiles()
    const session = await node.load({ bytes: matMulChain(20, 64) }, { profile: true, optimization: 'none' })
    for (let i = 0; i < 3; i++) await session.run({ x: ones(64, 64) })
    const times = await session.profile()
    expect(times).toHaveLength(20)
    expect(new Set(times.map((time) => time.node)).size).toBe(20)
    for (const time of times) expect(time).toMatchObject({ operator: 'MatMul', calls: 3 })
    expect(times[0].milliseconds).toBeGreaterThanOrEqual(times[19].milliseconds)
    expect(await session.profile()).toBe(times)
    await session.dispose()
    const other = await node.load({ bytes: matMulChain(1, 8) }, { profile: true })
    await other.dispose()
    expect(await profiles()).toBe(before)
    const plain = await node.load({ bytes: matMulChain(1, 8) })
    await expect(plain.profile()).rejects.toMatchObject({ code: 'usage' })
    await plain.dispose()
  })

  test('hands settings on and refuses nonsense', async () => {
    const bytes = matMulChain(2, 8)
    const session = await node.load({ bytes }, { threads: 2, settings: { 'session.intra_op.allow_spinning': '0' } })
    await session.run({ x: ones(1, 8) })
    await session.dispose()
    await expect(node.load({ bytes }, { threads: 0 })).rejects.toMatchObject({ code: 'usage' })
    await expect(node.load({ bytes }, { settings: { '': 'x' } })).rejects.toMatchObject({ code: 'bad-input' })
  })

  test('names the node that failed', async () => {
    const bytes = tinyOnnx({
      inputs: { a: ['float32', ['n']], b: ['float32', ['m']] },
      outputs: { y: ['float32', ['k']] },
      nodes: [{ op: 'Add', inputs: ['a', 'b'], outputs: ['y'], name: 'sum' }],
    })
    const session = await node.load({ bytes })
    const feeds = { a: ndarray('float32', [2], [1, 2]), b: ndarray('float32', [3], [1, 2, 3]) }
    await expect(session.run(feeds)).rejects.toMatchObject({ message: expect.stringContaining("node 'sum' (Add): axis") })
    await session.dispose()
  })

  test('many sessions and stopped runs in the queue', async () => {
    const sessions = await Promise.all(Array.from({ length: 8 }, () => node.load({ bytes: matMulChain(300, 64) }, { threads: 1 })))
    const stop = new AbortController()
    const x = ones(64, 64)
    const stopped = sessions.map((session) => session.run({ x }, { signal: stop.signal }).catch((error) => error))
    const running = sessions.map((session) => session.run({ x }))
    stop.abort()
    for (const error of await Promise.all(stopped)) expect(error).toMatchObject({ code: 'interrupted' })
    for (const { y } of await Promise.all(running)) expect(y.shape).toEqual([64, 64])
    await Promise.all(sessions.map((session) => session.dispose()))
  })

  test('10,000 runs leak nothing, whether their outputs are read, disposed or forgotten', async () => {
    const session = await node.load({ bytes: matMulChain(1, 64) }, { threads: 1 })
    const x = ones(100, 64)
    const loop = async (runs: number) => {
      for (let i = 0; i < runs; i++) {
        const signal = i % 2 ? new AbortController().signal : undefined
        const { y } = await session.run({ x }, { signal })
        if (i % 3 === 0) y.data
        else if (i % 3 === 1) y.dispose()
      }
    }
    await loop(1000)
    const before = process.memoryUsage().rss
    await loop(10_000)
    // 10,000 outputs are 256 MB.
    expect((process.memoryUsage().rss - before) / 2 ** 20).toBeLessThan(100)
    await session.dispose()
  })

  test('reports that memory is not to be had', async () => {
    const bytes = tinyOnnx({
      inputs: { x: ['int64', [1]] },
      outputs: { y: ['float32', ['n']] },
      nodes: [{ op: 'ConstantOfShape', inputs: ['x'], outputs: ['y'] }],
    })
    const session = await node.load({ bytes })
    await expect(session.run({ x: ndarray('int64', [1], [2 ** 46]) })).rejects.toMatchObject({ code: 'out-of-memory' })
    await session.dispose()
  })

  test('parses profiles that were cut off', () => {
    const event = (name: string, dur: number) => JSON.stringify({ cat: 'Node', name, dur, args: { op_name: 'Add' } })
    const text = `[${event('a_kernel_time', 1000)},\n${event('b_kernel_time', 3000)},\n{"cat":"No`
    expect(parseProfile(text)).toEqual([
      { operator: 'Add', node: 'b', calls: 1, milliseconds: 3 },
      { operator: 'Add', node: 'a', calls: 1, milliseconds: 1 },
    ])
    expect(parseProfile('[')).toEqual([])
  })
})

describe('ONNX Runtime Web', () => {
  let remove: (() => Promise<void>) | undefined

  beforeAll(async () => {
    const worker = await buildWorker()
    placeWebRuntime({ worker: worker.url })
    remove = worker.remove
  })
  afterAll(() => remove?.())

  for (const { name, run } of cases) test(name, () => run(web))

  test('tells its version', () => {
    expect(web.version).toBe(packageVersion('onnxruntime-web'))
    expect(web.target).toBe('ort-wasm')
  })

  test("a session's memory is worked on when an abort has ended its thread, by copies then", async () => {
    const session = await web.load({ bytes: matMulChain(1500, 96) }, { optimization: 'none' })
    const [rows, width] = [2000, 96]
    const memory = (await session.allocate!(rows * width))!
    const state = { dtype: 'float32', shape: [1, width], data: memory.subarray(0, width).fill(1) } as const
    const expected = (await session.run({ x: ones(1, width) })).y.data
    const stop = new AbortController()
    const whole = { dtype: 'float32', shape: [rows, width], data: memory } as const
    const long = session.run({ x: whole }, { signal: stop.signal })
    const next = session.run({ x: state }, { into: { y: state } })
    stop.abort()
    await expect(long).rejects.toMatchObject({ code: 'interrupted' })
    expect((await next).y.data).toBe(state.data)
    expect(state.data).toEqual(expected)
    const before = web.copiedBytes
    await session.run({ x: state }, { into: { y: state } })
    expect(web.copiedBytes - before).toBe(2 * 4 * width)
    await session.dispose()
  })

  test('a session with texts has no memory for arrays', async () => {
    const bytes = tinyOnnx({
      inputs: { x: ['string', ['n']] },
      outputs: { y: ['string', ['m']] },
      nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
    })
    const session = await web.load({ bytes })
    expect(await session.allocate!(4)).toBeUndefined()
    await session.dispose()
  })

  test('says what it cannot do', async () => {
    await expect(web.load({ path: 'model.onnx' })).rejects.toMatchObject({ code: 'unsupported' })
    await expect(web.load({ bytes: matMulChain(1, 8) }, { profile: true })).rejects.toMatchObject({ code: 'unsupported' })
    const session = await web.load({ bytes: matMulChain(1, 8) }, { threads: 1 })
    await expect(session.profile()).rejects.toMatchObject({ code: 'unsupported' })
    await session.dispose()
    const bytes = tinyOnnx({
      inputs: { x: ['bfloat16', [2]] },
      outputs: { y: ['bfloat16', [2]] },
      nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
    })
    await expect(web.load({ bytes })).rejects.toMatchObject({ code: 'unsupported' })
  })
})
