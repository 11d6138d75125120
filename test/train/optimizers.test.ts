import { describe, expect, test } from 'vitest'
import { Random } from '../../src/base/random.js'
import { adamW } from '../../src/train/optimizers/adamw.js'
import { apollo, apolloMini } from '../../src/train/optimizers/apollo.js'
import { optimizerFrom, optimizerNames, optimizerOptions } from '../../src/train/optimizers/index.js'
import type { Optimizer } from '../../src/train/optimizers/optimizer.js'
import { ParameterStore } from '../../src/train/parameters.js'
import { Updater } from '../../src/train/updater.js'
import * as reference from './updates.js'

const shapes = { tall: [12, 5], wide: [4, 9], square: [6, 6], vector: [7] }
const linears = new Set(['tall', 'wide', 'square'])
const entries = Object.entries(shapes).map(([name, shape]) => ({ name, shape }))

function asMatrix(data: ArrayLike<number>, shape: readonly number[]): number[][] {
  const columns = shape.at(-1)!
  return Array.from({ length: data.length / columns }, (_, i) => Array.from({ length: columns }, (_, j) => data[i * columns + j]))
}

async function newStore(seed = 1): Promise<ParameterStore> {
  const store = await ParameterStore.create(entries)
  store.values.set(new Random(seed, 'parameters').normals(store.size, 0.5))
  return store
}

const gradientsOf = (step: number, size: number, deviation = 0.3) => new Random(7, `gradients ${step}`).normals(size, deviation)
const spanOf = (store: ParameterStore, weightDecay = 0) => ({ start: 0, end: store.size, rate: 1, weightDecay })

/** The largest difference over all parameters after some steps, relative to the largest parameter. */
async function distance(optimizer: Optimizer, referenceOf: (name: string) => reference.Reference, learningRate = 0.01, steps = 6) {
  const store = await newStore()
  const updater = await Updater.create(optimizer, store, linears)
  const expected = store.entries.map((entry) => ({
    entry,
    update: referenceOf(entry.name),
    value: asMatrix(store.view(store.values, entry).data as Float32Array, entry.shape),
  }))
  for (let step = 1; step <= steps; step++) {
    const gradients = gradientsOf(step, store.size)
    await updater.update(store.values, gradients, spanOf(store, 0.1), { step, learningRate }, 0.5)
    for (const each of expected) {
      const gradient = asMatrix(store.view(gradients, each.entry).data as Float32Array, each.entry.shape)
      each.value = each.update(
        each.value,
        reference.map(gradient, (x) => x * 0.5),
        { step, learningRate, weightDecay: 0.1 },
      ) as number[][]
    }
  }
  await updater.dispose()
  const exact = expected.flatMap((each) => each.value.flat())
  const largest = Math.max(...exact.map(Math.abs))
  return Math.max(...exact.map((x, i) => Math.abs(x - store.values[i]))) / largest
}

/** The projection that the optimizer draws for a parameter, as [side, rank]. */
function projectionOf(optimizer: ReturnType<typeof apollo>, name: keyof typeof shapes) {
  const update = optimizer.updateOf({ name, shape: shapes[name], isLinear: true })
  if (!('feeds' in update)) throw new Error(`${name} has no projection`)
  return (step: number) => {
    const { data, shape } = update.feeds!(step)['projection']
    const matrix = asMatrix(data as Float32Array, shape)
    return shapes[name][0] >= shapes[name][1] ? matrix : matrix[0].map((_, j) => matrix.map((row) => row[j]))
  }
}

describe('updates agree with the published equations in float64', () => {
  const elementwise: [string, Optimizer, () => reference.Reference, number][] = [
    ['AdamW', optimizerFrom({ name: 'adamw', beta2: 0.98 }), () => reference.adamW(0.9, 0.98, 1e-8), 0.01],
    ['gradient descent', optimizerFrom({ name: 'sgd' }), () => reference.sgd(0, false), 0.1],
    ['momentum', optimizerFrom({ name: 'sgd', momentum: 0.9 }), () => reference.sgd(0.9, false), 0.1],
    ['Nesterov', optimizerFrom({ name: 'sgd', momentum: 0.9, nesterov: true }), () => reference.sgd(0.9, true), 0.1],
    ['Lion', optimizerFrom({ name: 'lion' }), () => reference.lion(0.9, 0.99), 0.001],
    ['Adafactor', optimizerFrom({ name: 'adafactor' }), () => reference.adafactor(false), 0.01],
    ['Adafactor, relative steps', optimizerFrom({ name: 'adafactor', relativeStep: true }), () => reference.adafactor(true), 0.01],
  ]
  test.each(elementwise)('%s', async (_, optimizer, referenceOf, rate) => {
    expect(await distance(optimizer, referenceOf, rate)).toBeLessThan(1e-5)
  })

  test.each(['channel', 'tensor'] as const)('APOLLO, a factor for each %s, with a projection that changes', async (granularity) => {
    const optimizer = apollo({ rank: 3, granularity, scale: 4, refresh: 2, seed: 5 })
    const referenceOf = (name: string) =>
      name === 'vector'
        ? reference.adamW(0.9, 0.999, 1e-6)
        : reference.apollo(granularity, 4, projectionOf(optimizer, name as keyof typeof shapes))
    expect(await distance(optimizer, referenceOf)).toBeLessThan(1e-5)
  })

  test('APOLLO-Mini is rank 1 with one factor and scale 128', async () => {
    const optimizer = apolloMini({ seed: 5 })
    const referenceOf = (name: string) =>
      name === 'vector'
        ? reference.adamW(0.9, 0.999, 1e-6)
        : reference.apollo('tensor', 128, projectionOf(optimizer, name as keyof typeof shapes))
    expect(await distance(optimizer, referenceOf)).toBeLessThan(1e-5)
  })
})

test('Adafactor leaves elements without gradient where they are', async () => {
  const store = await newStore()
  const updater = await Updater.create(optimizerFrom({ name: 'adafactor' }), store)
  const before = store.values.slice()
  await updater.update(store.values, await store.alike(), spanOf(store), { step: 1, learningRate: 0.1 }, 1)
  expect(store.values).toEqual(before)
  await updater.dispose()
})

describe('convergence', () => {
  const all: [string, Optimizer, number][] = [
    ['adamw', optimizerFrom({ name: 'adamw' }), 0.03],
    ['sgd', optimizerFrom({ name: 'sgd', momentum: 0.9, nesterov: true }), 0.02],
    ['lion', optimizerFrom({ name: 'lion' }), 0.03],
    ['adafactor', optimizerFrom({ name: 'adafactor' }), 0.03],
    ['apollo', optimizerFrom({ name: 'apollo', rank: 2, scale: 2 }), 0.03],
    ['apollo-mini', optimizerFrom({ name: 'apollo-mini', scale: 5 }), 0.03],
  ]
  test('every optimizer is named', () => expect(all.map(([name]) => name)).toEqual(optimizerNames))

  test.each(all)('%s finds the minimum of a quadratic whose curvatures differ tenfold', async (_, optimizer, rate) => {
    const store = await newStore()
    const target = new Random(3, 'target').normals(store.size)
    const curvature = (i: number) => (i % 2 ? 1 : 10)
    const loss = () => store.values.reduce((sum, x, i) => sum + (curvature(i) * (x - target[i]) ** 2) / 2, 0)
    const first = loss()
    const updater = await Updater.create(optimizer, store, linears)
    const steps = 300
    for (let step = 1; step <= steps; step++) {
      const gradients = store.values.map((x, i) => curvature(i) * (x - target[i]))
      await updater.update(store.values, gradients, spanOf(store), { step, learningRate: rate * (1 - (step - 1) / steps) }, 1)
    }
    await updater.dispose()
    expect(loss() / first).toBeLessThan(1e-2)
  })
})

describe('state', () => {
  const sizesOf = async (optimizer: Optimizer) => {
    const updater = await Updater.create(optimizer, await newStore(), linears)
    await updater.dispose()
    return Object.fromEntries(
      Object.entries(updater.state).map(([name, tensors]) => [
        name,
        Object.fromEntries([...tensors].map(([parameter, { data }]) => [parameter, data.length])),
      ]),
    )
  }

  test('Adafactor: rows and columns of matrices, all of vectors', async () => {
    expect(await sizesOf(optimizerFrom({ name: 'adafactor' }))).toEqual({
      rows: { tall: 12, wide: 4, square: 6 },
      columns: { tall: 5, wide: 9, square: 6 },
      secondMoment: { vector: 7 },
    })
  })

  test('APOLLO: the larger side times the rank, and a norm; AdamW for vectors', async () => {
    const moments = { tall: 12 * 2, wide: 9 * 2, square: 6 * 2, vector: 7 }
    expect(await sizesOf(optimizerFrom({ name: 'apollo', rank: 2 }))).toEqual({
      firstMoment: moments,
      secondMoment: moments,
      norm: { tall: 1, wide: 1, square: 1 },
    })
  })

  test('figures for a matrix of 256 x 256', () => {
    const held = (optimizer: ReturnType<typeof apollo>) => {
      const { state } = optimizer.updateOf({ name: 'w', shape: [256, 256], isLinear: true })
      return Object.values(state as Record<string, readonly number[]>).reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0)
    }
    expect(held(apollo({ rank: 8 }))).toBe(4096 + 1)
    expect(held(apolloMini())).toBe(512 + 1)
  })

  test('APOLLO leaves embeddings and matrices no larger than the rank to AdamW', () => {
    const optimizer = apollo({ rank: 4 })
    const fallback = optimizer.updateOf({ name: 'bias', shape: [64], isLinear: false })
    expect(optimizer.updateOf({ name: 'embedding', shape: [64, 64], isLinear: false })).toBe(fallback)
    expect(optimizer.updateOf({ name: 'narrow', shape: [64, 4], isLinear: true })).toBe(fallback)
    expect(optimizer.updateOf({ name: 'wide', shape: [64, 5], isLinear: true })).not.toBe(fallback)
  })

  test.each(optimizerNames)('%s goes on from a saved state with the same bits', async (name) => {
    const once = async (interrupted: boolean) => {
      const make = () => optimizerFrom(optimizerOptions.parse({ name, ...(name === 'sgd' && { momentum: 0.9 }) }))
      const store = await newStore()
      let updater = await Updater.create(make(), store, linears)
      for (let step = 1; step <= 8; step++) {
        if (interrupted && step === 5) {
          const next = await Updater.create(make(), store, linears)
          for (const [key, tensors] of Object.entries(next.state))
            for (const [parameter, { data }] of tensors) (data as Float32Array).set(updater.state[key].get(parameter)!.data as Float32Array)
          await updater.dispose()
          updater = next
        }
        await updater.update(store.values, gradientsOf(step, store.size), spanOf(store), { step, learningRate: 0.01 }, 1)
      }
      await updater.dispose()
      return store.values
    }
    expect(await once(true)).toEqual(await once(false))
  })

  test('memory that is updated in pieces gives what small memory gives', async () => {
    const large = await ParameterStore.create([{ name: 'large', shape: [70_000] }])
    large.values.fill(1)
    const updater = await Updater.create(adamW(), large)
    const gradients = large.values.map((_, i) => (i % 3) - 1)
    await updater.update(large.values, gradients, spanOf(large), { step: 1, learningRate: 0.5 }, 1)
    await updater.dispose()
    expect(Math.max(...large.values.map((x, i) => Math.abs(x - (1 - 0.5 * ((i % 3) - 1)))))).toBeLessThan(1e-6)
  })
})

describe('APOLLO', () => {
  const changeOf = async (optimizer: Optimizer, scales: readonly number[], isSame = false) => {
    const store = await ParameterStore.create([{ name: 'w', shape: [16, 8] }])
    const updater = await Updater.create(optimizer, store, new Set(['w']))
    const norms: number[] = []
    for (const [i, scale] of scales.entries()) {
      const before = store.values.slice()
      const gradients = gradientsOf(isSame ? 0 : i, store.size).map((x) => x * scale)
      await updater.update(store.values, gradients, spanOf(store), { step: i + 1, learningRate: 1 }, 1)
      const correction = Math.sqrt(1 - 0.999 ** (i + 1)) / (1 - 0.9 ** (i + 1))
      norms.push(reference.norm([Array.from(store.values, (x, k) => x - before[k])]) / correction)
    }
    await updater.dispose()
    return norms
  }

  test('the norm of the update grows by at most one percent, also at a gradient 100 times as large', async () => {
    const norms = await changeOf(apollo({ rank: 2 }), [1, 1, 1, 100, 1])
    for (let i = 1; i < norms.length; i++) expect(norms[i] / norms[i - 1]).toBeLessThan(1.01 + 1e-4)
  })

  test('gradients that stay the same, whose moments grow faster, make it grow by exactly one percent', async () => {
    const norms = await changeOf(apollo({ rank: 2 }), [1, 1, 1, 1], true)
    for (let i = 1; i < norms.length; i++) expect(norms[i] / norms[i - 1]).toBeCloseTo(1.01, 4)
  })

  test('an update of zero does not hold back the next ones', async () => {
    const [first, none, next] = await changeOf(apollo({ rank: 2, beta1: 0 }), [1, 0, 1])
    expect(none).toBe(0)
    expect(next).toBeGreaterThan(first / 10)
  })

  test('the expected squared norm of a sketched row is that of the row', () => {
    const row = Array.from(gradientsOf(1, 40))
    const trials = Array.from({ length: 400 }, (_, seed) => {
      const update = apollo({ rank: 4, seed }).updateOf({ name: 'w', shape: [64, 40], isLinear: true })
      if (!('feeds' in update)) throw new Error('no projection')
      const projection = asMatrix(update.feeds!(1)['projection'].data as Float32Array, [40, 4])
      return [0, 1, 2, 3].reduce((sum, r) => sum + row.reduce((dot, x, k) => dot + x * projection[k][r], 0) ** 2, 0)
    })
    const mean = trials.reduce((a, b) => a + b, 0) / trials.length
    const error = Math.sqrt(trials.reduce((sum, x) => sum + (x - mean) ** 2, 0) / trials.length / (trials.length - 1))
    expect(Math.abs(mean - reference.norm([row]) ** 2)).toBeLessThan(3 * error)
  })
})

test('options are checked', () => {
  expect(optimizerOptions.safeParse({ name: 'lion', rank: 3 }).success).toBe(false)
  expect(optimizerOptions.safeParse({ name: 'adam' }).success).toBe(false)
  expect(optimizerOptions.safeParse({ name: 'apollo', rank: 0 }).success).toBe(false)
  expect(optimizerOptions.parse({ name: 'apollo', rank: 4 })).toEqual({ name: 'apollo', rank: 4 })
})
