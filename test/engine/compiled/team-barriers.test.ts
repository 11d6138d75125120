import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Buffer, type View, whole } from '../../../src/engine/compiled/plan/steps.js'
import { type MemoryPlan, viewOffset } from '../../../src/engine/compiled/program.js'
import { type Callers, TeamBarriers, type TeamKernel } from '../../../src/engine/compiled/team-barriers.js'

const [rows, parts] = [4, 2]
const buffers = ['a', 'b', 'c', 'd'].map((name): Buffer => ({ name, per: 'token', columns: 64, dtype: 'uint8' }))

/** Buffers in an arena: some lie where others do. */
const places = fc.array(fc.nat(3), { minLength: buffers.length, maxLength: buffers.length }).map(
  (slots): MemoryPlan => ({
    bytes: { token: 256, sequence: 0 },
    offsets: new Map(buffers.map((buffer, i) => [buffer, 64 * slots[i]])),
  }),
)

interface Called {
  readonly by: Callers
  readonly views: readonly View[]
  readonly written: ReadonlySet<Buffer>
}

const view = fc
  .record({ buffer: fc.constantFrom(...buffers), half: fc.constantFrom(undefined, 0, 1) })
  .map(({ buffer, half }): View => (half === undefined ? whole(buffer) : { buffer, column: 32 * half, columns: 32 }))
const called = fc.record({
  by: fc.constantFrom<Callers>('first', 'all', 'token'),
  views: fc.array(view, { minLength: 1, maxLength: 3 }),
  written: fc.subarray(buffers).map((some) => new Set(some)),
})

/** The bytes of a view that a thread may touch. */
function bytesTouched(memory: MemoryPlan, { by }: Called, one: View, part: number): number[] {
  if (by === 'first' && part > 0) return []
  const start = viewOffset(memory, one, { token: rows, sequence: 1 })
  const own = by === 'token' ? { from: (part * rows) / parts, to: ((part + 1) * rows) / parts } : { from: 0, to: rows }
  const touched: number[] = []
  for (let row = own.from; row < own.to; row++) for (let i = 0; i < one.columns; i++) touched.push(start + 64 * row + i)
  return touched
}

/** Whether one thread writes, in one of the calls, what another touches in the other. */
function races(memory: MemoryPlan, a: Called, b: Called): boolean {
  for (const x of a.views)
    for (const y of b.views) {
      if (!a.written.has(x.buffer) && !b.written.has(y.buffer)) continue
      for (const part of [0, 1]) {
        const touched = new Set(bytesTouched(memory, a, x, part))
        if (bytesTouched(memory, b, y, 1 - part).some((byte) => touched.has(byte))) return true
      }
    }
  return false
}

const kernelOf = ({ views, written }: Called, step: number): TeamKernel => ({ words: views.map((address) => ({ address })), step, written })

test('threads race nowhere between two barriers, and one that is alone waits for nobody', () => {
  fc.assert(
    fc.property(places, fc.array(called, { maxLength: 8 }), (memory, calls) => {
      const barriers = new TeamBarriers(memory)
      let since: Called[] = []
      for (const [step, call] of calls.entries()) {
        const needed = barriers.before(kernelOf(call, step), call.by)
        const wouldRace = since.some((earlier) => races(memory, earlier, call))
        if (wouldRace) expect(needed).toBe(true)
        if (needed && since.every(({ by }) => by === call.by && by === 'first')) expect.fail('one thread alone waits for nobody')
        since = needed ? [call] : [...since, call]
      }
    }),
  )
})

test('own rows, and what each thread has for itself, need none', () => {
  const memory: MemoryPlan = { bytes: { token: 256, sequence: 0 }, offsets: new Map(buffers.map((buffer, i) => [buffer, 64 * i])) }
  const [a, b] = buffers
  const writes: Called = { by: 'token', views: [whole(a)], written: new Set([a]) }
  const reads: Called = { by: 'token', views: [whole(a), whole(b)], written: new Set([b]) }
  const ask = (barriers: TeamBarriers, by: Callers) =>
    [writes, reads].map((call, step) => barriers.before(kernelOf(call, step), step ? by : 'token'))
  expect(ask(new TeamBarriers(memory), 'token')).toEqual([false, false])
  expect(ask(new TeamBarriers(memory), 'all')).toEqual([false, true])
  expect(ask(new TeamBarriers(memory, new Set([a])), 'all')).toEqual([false, false])
})

test('scratch memory of a step lies where that of others does', () => {
  const memory: MemoryPlan = { bytes: { token: 0, sequence: 0 }, offsets: new Map() }
  const barriers = new TeamBarriers(memory)
  const [one, other] = [64, 64].map((scratch) => ({ scratch, per: 'token' as const }))
  const kernel = (word: typeof one, step: number): TeamKernel => ({ words: [word], step, written: new Set() })
  expect(barriers.before(kernel(one, 0), 'token')).toBe(false)
  expect(barriers.before(kernel(one, 0), 'token')).toBe(false)
  expect(barriers.before(kernel(other, 1), 'token')).toBe(true)
  expect(barriers.before(kernel(other, 1), 'all')).toBe(true)
  expect(barriers.count).toBe(2)
})
