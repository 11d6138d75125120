import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { featuresFrom } from '../../../../src/engine/compiled/x64/features.js'
import { linkedCode } from '../../../../src/engine/compiled/x64/linked-code.node.js'

const work = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-linked-'))
vi.stubEnv('TINSMITH_CACHE', work)
afterAll(() => fs.rmSync(work, { recursive: true, force: true }))

const pieces = { first: new Uint8Array(70).fill(1), second: new Uint8Array(3).fill(2), third: new Uint8Array(64).fill(3) }
const features = featuresFrom({ cpuid: () => [0, 0, 0, 0], enabledState: () => 0, permitTiles: () => false })

function makers(names: readonly (keyof typeof pieces)[] = ['first', 'second', 'third']) {
  return new Map(names.map((name) => [name, vi.fn(() => pieces[name])]))
}

function expectPieces({ code, offsets }: ReturnType<typeof linkedCode>, names: Iterable<string>): void {
  for (const name of names) {
    const piece = pieces[name as keyof typeof pieces]
    expect(offsets.get(name)! % 64).toBe(0)
    expect(Uint8Array.from(code.subarray(offsets.get(name)!, offsets.get(name)! + piece.length))).toEqual(piece)
  }
}

const madeBy = (codes: ReturnType<typeof makers>) => [...codes.values()].reduce((sum, make) => sum + make.mock.calls.length, 0)

describe('linked code', () => {
  it('has every piece where it says, made anew where nothing is kept', () => {
    for (let i = 0; i < 2; i++) {
      const codes = makers()
      expectPieces(linkedCode(codes, features), codes.keys())
      expect(madeBy(codes)).toBe(3)
    }
  })

  it('is made once for a script, the features and the keys', () => {
    const made = (script: string, names?: Parameters<typeof makers>[0], of: typeof features | null = features) => {
      const codes = makers(names)
      expectPieces(linkedCode(codes, of, script), codes.keys())
      return madeBy(codes)
    }
    expect(made('script')).toBe(3)
    expect(made('script')).toBe(0)
    expect(made('script', ['first', 'second'])).toBe(2)
    expect(made('script', undefined, { ...features, avx2: true })).toBe(3)
    expect(made('script', undefined, null)).toBe(3)
    expect(made('other')).toBe(3)
    expect(made('script')).toBe(0)
  })

  it('is made anew where what was kept was changed', () => {
    linkedCode(makers(), features, 'changed')
    const folder = path.join(work, 'code', fs.readdirSync(path.join(work, 'code')).find((name) => name.startsWith('changed'))!)
    const [file] = fs.readdirSync(folder).map((name) => path.join(folder, name))
    fs.writeFileSync(file, fs.readFileSync(file).fill(0xcc, 100, 120))
    const codes = makers()
    expectPieces(linkedCode(codes, features, 'changed'), codes.keys())
    expect(madeBy(codes)).toBe(3)
  })
})
