import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { WritableFolder } from '../../src/base/bytes.js'
import { Random } from '../../src/base/random.js'
import { numbersOf } from '../../src/numbers/dtype.js'
import { optimizerFrom, optimizerNames } from '../../src/train/optimizers/index.js'
import { type TrainHooks, train } from '../../src/train/trainer.js'
import { bundle, runProgram } from './child.js'
import { points, regression, smallNet, usualOptions } from './runs.js'

const disk = vi.hoisted(() => ({ bytesLeft: Number.POSITIVE_INFINITY }))

vi.mock('#platform', async (load) => {
  const platform = await load<typeof import('../../src/base/platform.node.js')>()
  const { cannotWrite } = await import('../../src/base/files.node.js')
  /** A folder on a disk that is full after some bytes. */
  const limited = (target: WritableFolder): WritableFolder =>
    new Proxy(target, {
      get(folder, key) {
        if (key !== 'create')
          return typeof folder[key as keyof WritableFolder] === 'function'
            ? (folder[key as 'list'] as () => unknown).bind(folder)
            : folder[key as keyof WritableFolder]
        return async (name: string) => {
          const sink = await folder.create(name)
          const write = sink.write.bind(sink)
          sink.write = async (bytes: Uint8Array) => {
            disk.bytesLeft -= bytes.length
            if (disk.bytesLeft < 0) throw cannotWrite(name, Object.assign(new Error('no space left on device'), { code: 'ENOSPC' }))
            return write(bytes)
          }
          return sink
        }
      },
    })
  const writeFolder: typeof platform.writeFolder = (out, options, fill) =>
    platform.writeFolder(out, options, (target) => fill(limited(target)))
  return { ...platform, writeFolder }
})

let folder: string
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'checkpoint-'))
  disk.bytesLeft = Number.POSITIVE_INFINITY
})
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }))

const state = () => path.join(folder, 'state')
const saved = () => fs.readdirSync(state()).sort()
const weights = async (graph: ReturnType<typeof smallNet>) =>
  Promise.all([...graph.constants.values()].map(async ({ tensor }) => numbersOf(await tensor!.array())))
const hooks = (more: TrainHooks = {}): TrainHooks => ({ folder: state(), identity: 'this run', saveEvery: 2, ...more })
const failAfter = (last: number): TrainHooks =>
  hooks({
    onStep: ({ step }) => {
      if (step === last) throw new Error('stopped here')
    },
  })

describe('a run that is killed', () => {
  const program = `
    import { createHash } from 'node:crypto'
    import { train } from './src/train/trainer.js'
    import { classification, classifierOptions, sentences, tinyClassifier } from './test/train/runs.js'
    const graph = tinyClassifier()
    const folder = process.argv[2] || undefined
    let countdown = Number(process.argv[3] ?? 0)
    const delay = Number(process.argv[4] ?? 0)
    const result = await train(graph, classification, sentences, classifierOptions, {
      folder,
      identity: 'tiny',
      saveEvery: 3,
      evaluateEvery: 4,
      evaluate: async (present) => {
        const data = await present.constants.get('classifier.weight').tensor.read()
        return { spread: data.reduce((sum, x) => sum + x * x, 0) }
      },
      main: { metric: 'spread', better: 'higher' },
      onStep: ({ step, loss }) => {
        console.log('step', step, loss)
        if (--countdown) return
        if (delay) setTimeout(() => process.kill(process.pid, 'SIGKILL'), delay)
        else process.kill(process.pid, 'SIGKILL')
      },
    })
    const hash = createHash('sha256')
    for (const [name, { tensor }] of graph.constants) hash.update(name).update(await tensor.bytes())
    console.log('end', result.best, hash.digest('hex'))
  `

  test('ends, however often, with the bits of one that is not', async () => {
    const file = bundle(program, folder)
    const whole = await runProgram(file, [''])
    expect(whole.end).toBe(0)
    const random = new Random(6, 'kills')
    const losses = new Map<string, string>()
    let kills = 0
    for (;;) {
      const countdown = kills < 4 ? 2 + random.integer(8) : 0
      const run = await runProgram(file, [state(), `${countdown}`, `${(kills % 2) * (1 + random.integer(12))}`])
      for (const line of run.lines.filter((text) => text.startsWith('step'))) {
        const [, step, loss] = line.split(' ')
        expect(losses.get(step) ?? loss).toBe(loss)
        losses.set(step, loss)
      }
      if (run.end !== 'SIGKILL') {
        expect(run.end).toBe(0)
        expect(run.lines.at(-1)).toBe(whole.lines.at(-1))
        break
      }
      kills++
    }
    expect(kills).toBeGreaterThan(0)
    const steps = whole.lines.filter((line) => line.startsWith('step'))
    expect(steps.map((line) => line.split(' ')[2])).toEqual(steps.map((line) => losses.get(line.split(' ')[1])))
  }, 300_000)
})

describe('a run that is interrupted', () => {
  test.each(optimizerNames)('with %s goes on with the same bits', async (name) => {
    const options = { ...usualOptions, average: 0.9, optimizer: optimizerFrom(name === 'apollo' ? { name, rank: 1 } : { name }) }
    const [whole, parts] = [smallNet(), smallNet()]
    await train(whole, regression, points, options)
    await expect(train(parts, regression, points, options, failAfter(7))).rejects.toThrowError('stopped here')
    expect(saved()).toEqual(['step-00000006'])
    await train(parts, regression, points, options, hooks())
    expect(await weights(parts)).toEqual(await weights(whole))
  })
})

describe('a checkpoint', () => {
  const begin = () => expect(train(smallNet(), regression, points, usualOptions, failAfter(3))).rejects.toThrowError('stopped here')

  test('of another run is refused and stays', async () => {
    await begin()
    await expect(train(smallNet(), regression, points, usualOptions, hooks({ identity: 'another run' }))).rejects.toThrowError(
      expect.objectContaining({ code: 'bad-input', message: expect.stringContaining('belongs to another run') }),
    )
    expect(saved()).toEqual(['step-00000002'])
  })

  test('of another model is refused and names the tensor', async () => {
    await begin()
    const other = smallNet()
    const weight = other.constants.get('first.weight')!
    other.rename(weight, 'initial.weight')
    await expect(train(other, regression, points, usualOptions, hooks())).rejects.toThrowError(
      expect.objectContaining({ code: 'bad-input', message: expect.stringContaining('no tensor initial.weight of shape [2, 5]') }),
    )
  })

  test('of another optimizer is refused', async () => {
    await begin()
    const options = { ...usualOptions, optimizer: optimizerFrom({ name: 'lion' }) }
    await expect(train(smallNet(), regression, points, options, hooks())).rejects.toThrowError(
      expect.objectContaining({ code: 'bad-input' }),
    )
  })

  test.each([0, 10, 300, 900])(
    'that does not fit on the disk (%i bytes left) is an error, and the one before it is there',
    async (bytes) => {
      const graph = smallNet()
      const full = hooks({
        onStep: ({ step }) => {
          if (step === 6) disk.bytesLeft = bytes
        },
      })
      await expect(train(graph, regression, points, usualOptions, full)).rejects.toThrowError(
        expect.objectContaining({ code: 'cannot-write' }),
      )
      expect(saved()).toEqual(['step-00000004'])
      disk.bytesLeft = Number.POSITIVE_INFINITY
      const whole = smallNet()
      await train(graph, regression, points, usualOptions, hooks())
      await train(whole, regression, points, usualOptions)
      expect(await weights(graph)).toEqual(await weights(whole))
    },
  )

  test('is not written over when numbers stop being finite; the error names step, samples and tensor', async () => {
    let batches = 0
    const poisoned = {
      ...regression,
      batch: async (...[samples, random]: Parameters<typeof regression.batch>) =>
        regression.batch(++batches === 6 ? samples.map((sample) => ({ ...sample, y: Number.NaN })) : samples, random),
    }
    await expect(train(smallNet(), poisoned, points, usualOptions, hooks())).rejects.toThrowError(
      expect.objectContaining({
        code: 'failed',
        message: expect.stringMatching(
          /^Step 6 \(samples \d+, \d+, \d+, \d+\): The loss is NaN, and the gradient of first\.weight .*after step 4 is kept$/,
        ),
      }),
    )
    expect(saved()).toEqual(['step-00000004'])
    const [whole, resumed] = [smallNet(), smallNet()]
    await train(whole, regression, points, usualOptions)
    await train(resumed, regression, points, usualOptions, hooks())
    expect(await weights(resumed)).toEqual(await weights(whole))
  })

  test('remembers the best parameters and the evaluations without better ones', async () => {
    const metrics = [5, 1, 4, 4, 4, 4, 4, 4]
    const evaluated = (more: TrainHooks = {}) =>
      hooks({
        evaluate: async () => ({ error: metrics[count++] }),
        evaluateEvery: 1,
        main: { metric: 'error', better: 'lower' },
        patience: 4,
        ...more,
      })
    let count = 0
    const whole = smallNet()
    const expected = await train(whole, regression, points, usualOptions, { ...evaluated(), folder: undefined })
    expect(expected.best).toBe(2)
    count = 0
    const parts = smallNet()
    await expect(train(parts, regression, points, usualOptions, evaluated({ onStep: failAfter(5).onStep }))).rejects.toThrowError(
      'stopped here',
    )
    count = 4
    const resumed = await train(parts, regression, points, usualOptions, evaluated())
    expect(resumed.best).toBe(2)
    expect(resumed.steps.at(-1)!.step).toBe(expected.steps.at(-1)!.step)
    expect(await weights(parts)).toEqual(await weights(whole))
  })
})
