import fs from 'node:fs'
import path from 'node:path'

/** The Markdown files of a folder of the project. */
export function markdownIn(root, folder) {
  const at = path.join(root, folder)
  if (!fs.existsSync(at)) return []
  const files = fs.readdirSync(at).filter((file) => file.endsWith('.md'))
  return files.sort().map((file) => `${folder}/${file}`)
}

const block = /^```(\w+)(?:( run)| file=(\S+))?\n([\s\S]*?)^```$/gm

/** Code blocks of a Markdown file: `run` after the language marks those to be run, `file=NAME` those that become a file for them. */
export function fencesOf(root, document) {
  const text = fs.readFileSync(path.join(root, document), 'utf8')
  return [...text.matchAll(block)].map(({ 1: language, 2: run, 3: file, 4: code, index }) => ({
    document,
    language,
    run: Boolean(run),
    file,
    code,
    where: `${document}:${text.slice(0, index).split('\n').length}`,
  }))
}

const docstring = /^( *)\/\*\*((?:(?!\*\/)[\s\S])*?@example\n(?:(?!\*\/)[\s\S])*)\*\//gm
const declaration = /^(?:export )?(?:declare )?(?:abstract )?(?:class|interface|function|const|type) (\w+)/gm

/**
 * Examples in the docstrings of what an entry exports, members included.
 *
 * @param {string} dist folder of the .d.ts files
 * @param {Map<string, {file: string, name: string}>} exported where each exported name is declared
 */
export function examplesOf(dist, exported) {
  const names = new Map()
  for (const { file, name } of exported.values()) if (file) names.set(file, (names.get(file) ?? new Set()).add(name))
  return [...names.keys()].sort().flatMap((file) => {
    const text = fs.readFileSync(path.join(dist, file), 'utf8')
    const heads = [...text.matchAll(declaration)]
    return [...text.matchAll(docstring)].flatMap(({ 1: indent, 2: comment, index }) => {
      const owner = indent ? heads.findLast((head) => head.index < index) : heads.find((head) => head.index > index)
      if (!owner || !(names.get(file).has(owner[1]) || names.get(file).has('*'))) return []
      const code = comment.split(/@example\n/)[1].split(/^ *\* @\w/m)[0]
      return [{ language: 'ts', code: code.replace(/^ *\* ?/gm, ''), where: `example of ${owner[1]} (${file.replace('.d.ts', '.ts')})` }]
    })
  })
}
