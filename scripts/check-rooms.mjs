// Checks the house rules of src/: rooms import from rooms above them, Node.js stays in its files, no cycles, no long files, full indexes.
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { filesBelow, importsOf } from './source-text.mjs'

const longest = 500
const nodeOnly = /^(?:node:|onnxruntime-node(?:\/|$)|koffi(?:\/|$))/

/** Folders whose members must stand in the index, and how a member is recognised. */
const indexes = [
  { folder: 'passes', member: /\bdefinePass\(\{/ },
  { folder: 'models', member: /^export const \w+: Architecture\b/m },
  { folder: 'tasks', member: /^export const \w+: Task\b/m },
  { folder: 'ops', member: /^export const \w+: readonly Operator\[\]/m },
]

/** The rooms in order, from the block under "## Rooms" of ARCHITECTURE.md. */
export function readRooms(text) {
  const block = /^## Rooms\n[\s\S]*?```\w*\n([\s\S]*?)```/m.exec(text)?.[1]
  if (!block) throw new Error('ARCHITECTURE.md has no block of rooms under "## Rooms"')
  return [...block.matchAll(/^ *([a-z]+)\/ /gm)].map((match) => match[1])
}

/**
 * @param {ReadonlyMap<string, string>} files TypeScript sources by path below src/
 * @param {readonly string[]} rooms from the lowest to the highest
 * @param {Record<string, Record<string, string>>} aliases package.json#imports
 * @returns {string[]} one line for each broken rule
 */
export function checkRooms(files, rooms, aliases) {
  const edges = new Map([...files].map(([file, source]) => [file, importsOf(source).flatMap((one) => targets(file, one, aliases))]))
  const lines = [
    ...unlistedRooms(files, rooms),
    ...wrongDirections(edges, rooms),
    ...nodeOutside(edges),
    ...cycles(edges, files),
    ...longFiles(files),
    ...missingFromIndexes(files, edges),
  ]
  return [...new Set(lines)]
}

/** What an import names: files of src/, or a package. Aliases name all their twins. */
function targets(file, { name, typeOnly }, aliases) {
  const source = (path) => path.replace(/\.js$/, '.ts')
  if (name.startsWith('#')) {
    const twins = Object.values(aliases[name] ?? {})
    return twins.map((to) => ({ alias: true, typeOnly, file: source(to.replace('./dist/', '')) }))
  }
  if (name.startsWith('.')) return [{ typeOnly, file: source(path.posix.join(path.posix.dirname(file), name)) }]
  return [{ typeOnly, package: name }]
}

const roomOf = (file) => (file.includes('/') ? file.split('/')[0] : null)

function unlistedRooms(files, rooms) {
  const seen = new Set([...files.keys()].map(roomOf).filter(Boolean))
  return [...seen].filter((room) => !rooms.includes(room)).map((room) => `${room}/: this room is not in the list of ARCHITECTURE.md`)
}

function wrongDirections(edges, rooms) {
  const broken = []
  for (const [file, list] of edges)
    for (const { file: target } of list) {
      if (target === undefined) continue
      const [from, to] = [roomOf(file), roomOf(target)]
      if (from === null || from === to) continue
      if (to === null) broken.push(`${file}: imports ${target}, which stands outside the rooms`)
      else if (rooms.indexOf(to) > rooms.indexOf(from)) broken.push(`${file}: ${from} stands above ${to} and imports ${target}`)
    }
  return broken
}

function nodeOutside(edges) {
  const broken = []
  for (const [file, list] of edges) {
    if (file.endsWith('.node.ts') || file.startsWith('cli/')) continue
    for (const { package: name, file: target, alias } of list) {
      if (name && nodeOnly.test(name)) broken.push(`${file}: only *.node.ts and cli/ may import ${name}`)
      if (!alias && target?.endsWith('.node.ts')) broken.push(`${file}: imports ${target}; go through package.json#imports`)
    }
  }
  return broken
}

/** One line for each knot of files that load each other (Tarjan's strongly connected components); types may go in circles. */
function cycles(edges, files) {
  const found = []
  const [index, low, stack, open] = [new Map(), new Map(), [], new Set()]
  const visit = (file) => {
    index.set(file, index.size)
    low.set(file, index.get(file))
    stack.push(file)
    open.add(file)
    for (const { file: next, typeOnly } of edges.get(file)) {
      if (typeOnly || !files.has(next) || next === file) continue
      if (!index.has(next)) visit(next)
      if (open.has(next)) low.set(file, Math.min(low.get(file), low.get(next)))
    }
    if (low.get(file) !== index.get(file)) return
    const knot = stack.splice(stack.indexOf(file))
    for (const member of knot) open.delete(member)
    if (knot.length > 1) found.push(`${knot.join(', ')}: these files import each other`)
  }
  for (const file of files.keys()) if (!index.has(file)) visit(file)
  return found
}

function longFiles(files) {
  return [...files].flatMap(([file, source]) => {
    const lines = source.split('\n').length - 1
    return lines > longest ? [`${file}: ${lines} lines; ${longest} are allowed`] : []
  })
}

function missingFromIndexes(files, edges) {
  return indexes.flatMap(({ folder, member }) => {
    const known = new Set((edges.get(`${folder}/index.ts`) ?? []).map((edge) => edge.file))
    const isMissing = ([file, source]) =>
      file.startsWith(`${folder}/`) && file !== `${folder}/index.ts` && member.test(source) && !known.has(file)
    return [...files].filter(isMissing).map(([file]) => `${file}: is missing from ${folder}/index.ts`)
  })
}

/** Runs the check on a project. */
export function checkProject(root) {
  const read = (...parts) => fs.readFileSync(path.join(root, ...parts), 'utf8')
  const files = new Map(filesBelow(path.join(root, 'src'), '.ts').map((file) => [file, read('src', file)]))
  return checkRooms(files, readRooms(read('ARCHITECTURE.md')), JSON.parse(read('package.json')).imports)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const broken = checkProject(fileURLToPath(new URL('..', import.meta.url)))
  for (const line of broken) console.error(line)
  console.log(broken.length ? `${broken.length} broken rules` : 'the rooms are in order')
  process.exitCode = broken.length ? 1 : 0
}
