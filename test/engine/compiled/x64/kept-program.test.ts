import fs from 'node:fs'
import path from 'node:path'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { kernelChoice } from '#kernels'
import { findSession, openCompiled } from '../../../../src/engine/compiled/session.js'
import { x64Backend } from '../../../../src/engine/compiled/x64/backend.node.js'
import type { Session } from '../../../../src/engine/session.js'
import { ndarray } from '../../../../src/numbers/dtype.js'
import { generateIds, textFeeds } from '../../../../src/pipelines/index.js'
import { temporaryFolder } from '../../../cli/tinsmith.js'
import { fresh, smallLlama } from '../small-models.js'

const work = temporaryFolder()
vi.stubEnv('TINSMITH_CACHE', work)
afterEach(() => fs.rmSync(path.join(work, 'code'), { recursive: true, force: true }))
afterAll(() => fs.rmSync(work, { recursive: true }))

const encoder = { ...smallLlama(64), model_type: 'bert', architectures: ['BertModel'], type_vocab_size: 2 }
const keeping = (script: string | undefined = 'script', more = {}) => x64Backend({ script, ...more })

async function kept(config: Readonly<Record<string, unknown>>, threads = 2, backend = keeping()) {
  const session = await openCompiled(fresh(config), backend, { threads })
  await session.keep('key', ['said'])
  return session
}

/** Texts of these tokens, padded behind. */
function feedsOf(session: Session, rows: readonly (readonly number[])[]) {
  const width = Math.max(...rows.map(({ length }) => length))
  const padded = (pad: (row: readonly number[], i: number) => number) =>
    ndarray(
      'int64',
      [rows.length, width],
      rows.flatMap((row) => Array.from({ length: width }, (_, i) => pad(row, i))),
    )
  const [input_ids, attention_mask] = [padded((row, i) => row[i] ?? 0), padded((row, i) => Number(i < row.length))]
  return textFeeds(session, { input_ids, attention_mask })
}

async function outputOf(session: Session): Promise<Float32Array> {
  const ids = Array.from({ length: 20 }, (_, i) => (i * 31) % 50)
  const results = await session.run(feedsOf(session, [ids, ids.slice(7)]))
  return (Object.values(results)[0].data as Float32Array).slice()
}

async function tokensOf(session: Session): Promise<number[]> {
  const tokens: number[] = []
  for await (const token of generateIds(session, [1, 2, 3], { maxNewTokens: 40 })) tokens.push(token)
  return tokens
}

describe.runIf(kernelChoice().backend === 'x64')('a program that was kept', () => {
  it.each([
    [1, {}],
    [2, {}],
    [2, { teamOperations: 0 }],
  ])('gives the same numbers as the one that was compiled, on %d threads with %o', async (threads, more) => {
    const backend = keeping('script', more)
    const first = await kept(encoder, threads, backend)
    const found = findSession('key', backend, { threads })!
    expect(found.about).toEqual(['said'])
    const second = await found.open()
    expect([second.engine, second.inputs, second.outputs]).toEqual([first.engine, first.inputs, first.outputs])
    expect(await outputOf(second)).toEqual(await outputOf(first))
    await Promise.all([first.dispose(), second.dispose()])
  })

  it('goes on with keys and values', async () => {
    const first = await kept(smallLlama(64))
    const second = await findSession('key', keeping(), { threads: 2 })!.open()
    expect(await tokensOf(second)).toEqual(await tokensOf(first))
    await Promise.all([first.dispose(), second.dispose()])
  })

  it('refuses what the plan refuses', async () => {
    await (await kept(encoder)).dispose()
    const session = await findSession('key', keeping(), { threads: 2 })!.open()
    await expect(session.run(feedsOf(session, [[1, 50]]))).rejects.toThrow(/input_ids holds 50, and the table has rows 0 to 49/)
    await session.dispose()
  })

  it('is found for the same key, script, threads and options alone', async () => {
    await (await kept(encoder)).dispose()
    const isFound = (key = 'key', threads = 2, backend = keeping()) => {
      const found = findSession(key, backend, { threads })
      found?.close()
      return found !== undefined
    }
    expect(isFound()).toBe(true)
    expect(isFound('other')).toBe(false)
    expect(isFound('key', 1)).toBe(false)
    expect(isFound('key', 2, keeping('another'))).toBe(false)
    expect(isFound('key', 2, keeping('script', { guards: true }))).toBe(false)
    expect(isFound('key', 2, x64Backend())).toBe(false)
  })

  it('is not read where the session is gone already, and is whole where it goes meanwhile', async () => {
    const gone = await openCompiled(fresh(encoder), keeping(), { threads: 2 })
    await gone.dispose()
    await gone.keep('key', null)
    expect(findSession('key', keeping(), { threads: 2 })).toBeUndefined()
    const going = await openCompiled(fresh(encoder), keeping(), { threads: 2 })
    const expected = await outputOf(going)
    const keeps = going.keep('key', null)
    await Promise.all([keeps, going.dispose()])
    const session = await findSession('key', keeping(), { threads: 2 })!.open()
    expect(await outputOf(session)).toEqual(expected)
    await session.dispose()
  })
})
