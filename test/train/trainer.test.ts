import { describe, expect, test } from 'vitest'
import { Random } from '../../src/base/random.js'
import { openGraph } from '../../src/engine/open.js'
import { numbersOf } from '../../src/numbers/dtype.js'
import type { StepRecord } from '../../src/train/history.js'
import { train } from '../../src/train/trainer.js'
import { points, regression, smallNet, usualOptions } from './runs.js'

const weights = async (graph: ReturnType<typeof smallNet>) =>
  Promise.all(
    ['first.weight', 'first.bias', 'second.weight'].map(async (name) => numbersOf(await graph.constants.get(name)!.tensor!.array())),
  )

describe('training', () => {
  test('the loss falls, and the graph holds the trained parameters', async () => {
    const graph = smallNet()
    const { steps, best } = await train(graph, regression, points, { ...usualOptions, steps: 200 })
    expect(best).toBe(200)
    const mean = (records: readonly StepRecord[]) => records.reduce((sum, { loss }) => sum + loss, 0) / records.length
    expect(mean(steps.slice(-20))).toBeLessThan(mean(steps.slice(0, 5)) / 50)
    const session = await openGraph(graph)
    const { x } = await regression.batch(points, new Random(1))
    const y = Array.from(numbersOf((await session.run({ x })).y))
    await session.dispose()
    const error = y.reduce((sum, value, i) => sum + (value - points[i].y) ** 2, 0) / y.length
    expect(error).toBeLessThan(mean(steps.slice(0, 5)) / 50)
  })

  test('the same seed gives the same bits, another seed others', async () => {
    const [a, b, c] = [smallNet(), smallNet(), smallNet()]
    await train(a, regression, points, usualOptions)
    await train(b, regression, points, usualOptions)
    await train(c, regression, points, { ...usualOptions, seed: 9 })
    expect(await weights(b)).toEqual(await weights(a))
    expect(await weights(c)).not.toEqual(await weights(a))
  })

  test('parameters of a group with rate 0 stay as they are', async () => {
    const graph = smallNet()
    await train(graph, regression, points, { ...usualOptions, groups: [{ match: 'first.*', rate: 0 }] })
    const [before, after] = [await weights(smallNet()), await weights(graph)]
    expect(after.slice(0, 2)).toEqual(before.slice(0, 2))
    expect(after[2]).not.toEqual(before[2])
  })

  test.each([
    [1, 3],
    [2, 7],
  ])('with patience %i it stops after step %i, and the graph holds the best parameters', async (patience, stops) => {
    const metrics = [3, 2, 4, 1.5, 1, 1, 7, 8, 9]
    const graph = smallNet()
    const seen: (readonly (readonly number[])[])[] = []
    const result = await train(graph, regression, points, usualOptions, {
      evaluate: async (present) => {
        seen.push((await weights(present)).map((each) => [...each]))
        return { error: metrics[seen.length - 1] }
      },
      evaluateEvery: 1,
      main: { metric: 'error', better: 'lower' },
      patience,
    })
    expect(result.steps.length).toBe(stops)
    const best = metrics.slice(0, stops).indexOf(Math.min(...metrics.slice(0, stops)))
    expect(result.best).toBe(best + 1)
    expect((await weights(graph)).map((each) => [...each])).toEqual(seen[best])
  })

  test('with an average the graph ends with it', async () => {
    const [plain, averaged] = [smallNet(), smallNet()]
    await train(plain, regression, points, { ...usualOptions, steps: 1 })
    await train(averaged, regression, points, { ...usualOptions, steps: 1, average: 0.75 })
    const [start, end, mean] = [await weights(smallNet()), await weights(plain), await weights(averaged)]
    const expected = start.flatMap((each, i) => Array.from(each as Float32Array, (x, k) => 0.75 * x + 0.25 * end[i][k]))
    const got = mean.flatMap((each) => [...each])
    expect(Math.max(...expected.map((x, i) => Math.abs(x - got[i])))).toBeLessThan(1e-6)
  })

  test('an unknown metric, too little data and a loss without parameters are errors', async () => {
    await expect(
      train(smallNet(), regression, points, usualOptions, {
        evaluate: async () => ({ error: 1 }),
        main: { metric: 'accuracy', better: 'higher' },
      }),
    ).rejects.toThrowError(/gives no accuracy/)
    await expect(train(smallNet(), regression, points.slice(0, 3), usualOptions)).rejects.toThrowError(/larger than the data/)
    const blind = { ...regression, loss: (net: Parameters<typeof regression.loss>[0]) => net.input('target', 'float32', []) }
    await expect(train(smallNet(), blind, points, usualOptions)).rejects.toThrowError(/depends on no float parameter/)
  })
})
