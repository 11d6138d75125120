import { expect, test } from 'vitest'
import { Random } from '../../src/base/random.js'
import { MovingAverage } from '../../src/train/moving-average.js'
import { ParameterStore } from '../../src/train/parameters.js'

test('the average is the sum of all values so far, each less by the decay for every step since', async () => {
  const [size, decay, steps] = [70_000, 0.9, 5]
  const values = Array.from({ length: steps + 1 }, (_, step) => new Random(1, `${step}`).normals(size))
  const store = await ParameterStore.create([{ name: 'w', shape: [size] }])
  store.values.set(values[0])
  const average = await MovingAverage.create(store, decay)
  for (const value of values.slice(1)) await average.update(value)
  await average.dispose()
  let worst = 0
  for (let i = 0; i < size; i++) {
    let exact = decay ** steps * values[0][i]
    for (let k = 1; k <= steps; k++) exact += (1 - decay) * decay ** (steps - k) * values[k][i]
    worst = Math.max(worst, Math.abs(exact - average.values[i]))
  }
  expect(worst).toBeLessThan(1e-6)
})
