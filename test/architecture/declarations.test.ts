import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { Declarations } from '../../scripts/declarations.mjs'

const folders: string[] = []

function reportOf(files: Record<string, string>): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-declarations-'))
  folders.push(folder)
  for (const [file, text] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(folder, file)), { recursive: true })
    fs.writeFileSync(path.join(folder, file), text)
  }
  return new Declarations(folder).report('index.d.ts')
}

afterEach(() => {
  for (const folder of folders.splice(0)) fs.rmSync(folder, { recursive: true })
})

const shape =
  '/** A comment. */\nexport interface Shape {\n    /** Sides. */\n    sides: Side[];\n}\ninterface Side {\n    length: number;\n}\n'

describe('the report of the public API', () => {
  it('holds what exports reach, without comments, private members and what nobody reaches', () => {
    const report = reportOf({
      'index.d.ts': "export { area as size } from './a.js';\n",
      'a.d.ts':
        "import type { Shape } from './b/shape.js';\nexport declare function area(shape: Shape): number;\nexport declare const other: 1;\n",
      'b/shape.d.ts': shape,
    })
    expect(report).toContain('area as size,')
    expect(report).toContain('export declare function area(shape: Shape): number;')
    expect(report).toContain('sides: Side[];')
    expect(report).toContain('length: number;')
    expect(report).not.toMatch(/other|comment|Sides\./)
  })

  it('follows stars, namespaces, overloads and imports inside types', () => {
    const report = reportOf({
      'index.d.ts': "export * from './a.js';\nexport * as more from './c.js';\n",
      'a.d.ts':
        'export declare class A {\n    #private;\n    private x;\n    get(): import("./b/shape.js").Shape;\n}\nexport declare function f(a: 1): 1;\nexport declare function f(a: 2): 2;\n',
      'b/shape.d.ts': shape,
      'c.d.ts': 'export type C = "f";\ntype Unused = 1;\n',
    })
    for (const text of ['* as more', 'f(a: 1): 1', 'f(a: 2): 2', 'interface Shape', 'type C = "f"']) expect(report).toContain(text)
    expect(report).not.toMatch(/private|Unused/)
  })

  it('changes when a signature that is reached changes', () => {
    const files = (type: string) => ({
      'index.d.ts': "export * from './a.js';\n",
      'a.d.ts': `export interface A {\n    x: B;\n}\ntype B = ${type};\n`,
    })
    expect(reportOf(files('1'))).not.toBe(reportOf(files('2')))
  })
})
