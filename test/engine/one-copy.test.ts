import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))

interface Package {
  version: string
  dependencies: Record<string, string>
}

function read(file: string): Package {
  return JSON.parse(readFileSync(file, 'utf8')) as Package
}

/** Every installed copy of a package below a folder's node_modules. */
function copies(folder: string, name: string): string[] {
  const modules = join(folder, 'node_modules')
  if (!existsSync(modules)) return []
  const entries = readdirSync(modules, { withFileTypes: true }).filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
  const packages = entries.flatMap(({ name: entry }) => {
    return entry.startsWith('@') ? readdirSync(join(modules, entry)).map((inner) => join(modules, entry, inner)) : [join(modules, entry)]
  })
  const here = join(modules, name)
  return [...(existsSync(here) ? [here] : []), ...packages.flatMap((path) => copies(path, name))]
}

test('one copy of onnxruntime-node is installed, the one that transformers.js needs', () => {
  const found = copies(root, 'onnxruntime-node')
  expect(found).toEqual([join(root, 'node_modules/onnxruntime-node')])
  const wanted = read(join(root, 'node_modules/@huggingface/transformers/package.json')).dependencies['onnxruntime-node']
  const { version } = read(join(found[0], 'package.json'))
  expect(version).toBe(wanted.replace(/^[\^~]/, ''))
  const seen = createRequire(join(root, 'node_modules/@huggingface/transformers/package.json')).resolve('onnxruntime-node/package.json')
  expect(seen).toBe(join(found[0], 'package.json'))
})
