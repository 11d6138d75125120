import fs from 'node:fs'
import path from 'node:path'

/** Files below a folder whose names end in `suffix`, as sorted paths relative to it with `/`. */
export function filesBelow(folder, suffix) {
  if (!fs.existsSync(folder)) return []
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(suffix))
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)).replaceAll(path.sep, '/'))
    .sort()
}

const comment = /\/\*[\s\S]*?\*\/|\/\/[^\n]*/y
const text = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/y

/** TypeScript without its comments; texts are left alone. Made for declarations and imports: it does not know regular expressions. */
export function withoutComments(source) {
  let result = ''
  for (let at = 0; at < source.length; ) {
    const skipped = matchAt(comment, source, at)
    const kept = skipped ? '' : (matchAt(text, source, at) ?? source[at])
    result += kept
    at += skipped?.length ?? kept.length
  }
  return result
}

function matchAt(pattern, source, at) {
  pattern.lastIndex = at
  return pattern.exec(source)?.[0]
}

const statement = /^(?:import|export)\b([^'"`;=]*?)(?:\bfrom\s*)?['"]([^'"]+)['"]/gm
const call = /\bimport\(\s*(?:\/\*.*?\*\/\s*)*['"]([^'"]+)['"]/g

/**
 * What a module imports or exports from.
 *
 * @returns {{ name: string, typeOnly: boolean, dynamic: boolean }[]} `typeOnly`: nothing of it is left when the program runs (a list of `type` names leaves the import); `dynamic`: by `import()`
 */
export function importsOf(source) {
  const code = source.replace(/^[ \t]*\/\*[\s\S]*?\*\//gm, '').replace(/^[ \t]*\/\/.*$/gm, '')
  const statements = [...code.matchAll(statement)].map(([, names, name]) => ({ name, typeOnly: /^\s*type\b/.test(names), dynamic: false }))
  return [...statements, ...[...code.matchAll(call)].map(([, name]) => ({ name, typeOnly: false, dynamic: true }))]
}
