import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Buffer, whole } from '../../../src/engine/compiled/plan/steps.js'
import { listsOfTeam, type SharedKernel, shareOf } from '../../../src/engine/compiled/team.js'
import { type Callers, TeamBarriers } from '../../../src/engine/compiled/team-barriers.js'

test('shares of rows lie one behind the other, and none is larger than another by more than one', () => {
  fc.assert(
    fc.property(fc.nat(1000), fc.integer({ min: 1, max: 16 }), (rows, parts) => {
      const shares = Array.from({ length: parts }, (_, part) => shareOf(rows, { part, parts }))
      expect([0, ...shares.map(([, end]) => end)]).toEqual([...shares.map(([first]) => first), rows])
      const sizes = shares.map(([first, end]) => end - first)
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1)
    }),
  )
})

test('all threads of a team meet at the same barriers, and call what is theirs in the order of the kernels', () => {
  const buffer: Buffer = { name: 'a', per: 'token', columns: 4, dtype: 'float32' }
  const memory = { bytes: { token: 16, sequence: 0 }, offsets: new Map([[buffer, 0]]) }
  const kernel = { words: [{ address: whole(buffer) }], written: new Set([buffer]) }
  const callers = fc.array(fc.constantFrom<Callers>('first', 'all', 'token'), { maxLength: 12 })
  fc.assert(
    fc.property(callers, fc.integer({ min: 1, max: 4 }), (all, parts) => {
      const calls = all.map((by, step): SharedKernel<string> => {
        return { kernel: { ...kernel, step }, by, callOf: (part) => (by === 'first' && part ? null : `call ${step}`) }
      })
      const lists = listsOfTeam(calls, parts, new TeamBarriers(memory), (target, { step }) => `barrier ${target} before ${step}`)
      // All write the same memory: no barrier stands only between kernels that one thread calls alone, or each thread for its own rows.
      const isMet = (step: number) => step > 0 && (all[step] === 'all' || all[step] !== all[step - 1])
      let met = 0
      const expected = all.flatMap((_, step) => [...(isMet(step) ? [`barrier ${++met * parts} before ${step}`] : []), `call ${step}`])
      for (const [part, list] of lists.entries())
        expect(list).toEqual(expected.filter((call) => !part || !call.startsWith('call') || all[Number(call.slice(5))] !== 'first'))
    }),
  )
})
