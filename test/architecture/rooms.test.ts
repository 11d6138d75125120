import { describe, expect, it } from 'vitest'
import { checkProject, checkRooms, readRooms } from '../../scripts/check-rooms.mjs'

const rooms = ['base', 'ir', 'passes', 'cli']
const aliases = { '#platform': { browser: './dist/base/platform.browser.js', default: './dist/base/platform.node.js' } }
const broken = (files: Record<string, string>): string[] => checkRooms(new Map(Object.entries(files)), rooms, aliases)

describe('the rules of the house', () => {
  it('hold in src/', () => {
    expect(checkProject(process.cwd())).toEqual([])
  })

  it('let a room import from rooms above it', () => {
    const files = {
      'base/errors.ts': 'export const a = 1',
      'ir/graph.ts': "import { a } from '../base/errors.js'\nimport { b } from '#platform'",
      'base/platform.node.ts': "import fs from 'node:fs'",
      'base/platform.browser.ts': '',
      'index.ts': "export * from './ir/graph.js'",
    }
    expect(broken(files)).toEqual([])
  })

  it('forbid the other direction, whatever the form of the import', () => {
    const forms = [
      "import { a } from '../ir/graph.js'",
      "import type { A } from '../ir/graph.js'",
      "import '../ir/graph.js'",
      "export * from '../ir/graph.js'",
      "export {\n  a,\n  type B,\n} from '../ir/graph.js'",
      "const a = await import('../ir/graph.js')",
    ]
    for (const form of forms)
      expect(broken({ 'base/a.ts': form, 'ir/graph.ts': '' })).toEqual(['base/a.ts: base stands above ir and imports ir/graph.ts'])
  })

  it('see no imports in comments', () => {
    expect(
      broken({
        'base/a.ts': "/**\n * @example\n * import { a } from '../ir/graph.js'\n */\n// import '../ir/graph.js'",
        'ir/graph.ts': '',
      }),
    ).toEqual([])
  })

  it('keep Node.js in its files', () => {
    expect(broken({ 'base/a.ts': "import fs from 'node:fs'", 'cli/a.ts': "import fs from 'node:fs'" })).toEqual([
      'base/a.ts: only *.node.ts and cli/ may import node:fs',
    ])
    expect(broken({ 'base/a.ts': "import { b } from './b.node.js'", 'base/b.node.ts': '' })).toHaveLength(1)
  })

  it('find files that load each other, though types may go in circles', () => {
    const files = { 'ir/a.ts': "import './b.js'", 'ir/b.ts': "import './c.js'", 'ir/c.ts': "import './a.js'", 'ir/d.ts': "import './a.js'" }
    expect(broken(files)).toEqual(['ir/a.ts, ir/b.ts, ir/c.ts: these files import each other'])
    expect(broken({ ...files, 'ir/c.ts': "import type { A } from './a.js'\nexport type { B } from './a.js'" })).toEqual([])
    for (const names of ['type A', 'type A, b'])
      expect(broken({ ...files, 'ir/c.ts': `import { ${names} } from './a.js'` })).toHaveLength(1)
  })

  it('limit the length of a file and want every room and every pass listed', () => {
    expect(broken({ 'ir/a.ts': '\n'.repeat(501) })).toHaveLength(1)
    expect(broken({ 'attic/a.ts': '' })).toEqual(['attic/: this room is not in the list of ARCHITECTURE.md'])
    const pass = { 'passes/rewrite/x.ts': 'export const x = definePass({})' }
    expect(broken({ ...pass, 'passes/index.ts': '' })).toEqual(['passes/rewrite/x.ts: is missing from passes/index.ts'])
    expect(broken({ ...pass, 'passes/index.ts': "import { x } from './rewrite/x.js'" })).toEqual([])
  })

  it('are read from the list of rooms', () => {
    expect(readRooms('# A\n\n## Rooms\n\nText.\n\n```text\nbase/  errors\nir/    graphs\n```\n')).toEqual(['base', 'ir'])
    expect(() => readRooms('# A')).toThrow('Rooms')
  })
})
