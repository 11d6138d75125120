import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')

/**
 * The `imports` of package.json as paths of sources, for tools that run or bundle them.
 *
 * @param {'default' | 'browser'} condition
 * @returns {Record<string, string>}
 */
export function sourceAliases(condition) {
  const { imports } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
  const source = (file) => path.join(root, file.replace('./dist/', 'src/').replace(/\.js$/, '.ts'))
  return Object.fromEntries(Object.entries(imports).map(([name, files]) => [name, source(files[condition])]))
}
