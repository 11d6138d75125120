import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { sourceAliases } from '../scripts/source-aliases.mjs'
import { importsOf } from '../scripts/source-text.mjs'

const root = fileURLToPath(new URL('../src/', import.meta.url))
const aliases = sourceAliases('default')

/** The files that come along when a file is imported: its static imports, and theirs. */
function comingWith(file: string, found = new Set<string>()): ReadonlySet<string> {
  if (found.has(file)) return found
  found.add(file)
  for (const { name, typeOnly, dynamic } of importsOf(fs.readFileSync(file, 'utf8'))) {
    if (typeOnly || dynamic || !/^[.#]/.test(name)) continue
    comingWith(aliases[name] ?? path.resolve(path.dirname(file), name.replace(/\.js$/, '.ts')), found)
  }
  return found
}

it('tinsmith/load brings nothing along that only making models needs', () => {
  const rooms = new Set([...comingWith(path.join(root, 'load.ts'))].map((file) => path.relative(root, file).split(path.sep)[0]))
  expect(rooms).toContain('pipelines')
  for (const room of ['onnx', 'ops', 'models', 'raise', 'lower', 'grad', 'train', 'passes', 'recipes', 'targets', 'report', 'tasks', 'cli'])
    expect(rooms).not.toContain(room)
})
