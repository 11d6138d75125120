// Checks the code of the documents and of the docstrings of the public API.
//   ```ts run, ```js run, ```sh run     is run, in a folder of its own for each document; must exit with 0
//   ```yaml file=NAME                   is put into that folder
//   ```ts, ```js and @example           is type-checked; names that nothing declares stand for anything, unless they are called
//   @example with `expression // value` is run where it stands alone, and the value compared
// Models and data that the code names are linked into that folder where they are present; else the code is skipped with a message.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { transformSync } from 'esbuild'
import { examplesOf, fencesOf, markdownIn } from './code-in-documents.mjs'
import { Declarations } from './declarations.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const dist = path.join(root, 'dist')
/** Inside the package, so that `tinsmith` is found as its users find it. */
const work = path.join(dist, 'docs-code')
const shared = path.resolve(process.env.TINSMITH_SHARED || path.join(root, '../shared'))
const models = path.resolve(process.env.TINSMITH_MODELS || path.join(os.homedir(), '.cache/tinsmith/test-models'))
const fixtures = {
  'all-MiniLM-L6-v2': path.join(models, 'all-MiniLM-L6-v2'),
  stories260K: path.join(shared, 'models/stories260K'),
  'sts-dev.csv': path.join(shared, 'data/stsb/dev.csv'),
  'sentences.csv': path.join(shared, 'data/stsb/train.csv'),
}
const timeout = 600_000
const languages = ['ts', 'js', 'sh']
/** Codes of "cannot find name". */
const unknownName = new Set(['2304', '2552', '2582', '2503', '18004'])

/** Put behind examples whose values are compared. */
const check = `
function __check(text: string, got: unknown, expected: unknown): void {
  if (!same(got, expected)) throw new Error(text + ' gives ' + String(got) + ' and not ' + String(expected))
}
function same(a: any, b: any): boolean {
  if (typeof a === 'number' && typeof b === 'number') return Object.is(a, b) || Math.abs(a - b) <= 1e-4 * Math.max(1, Math.abs(b))
  if (typeof a !== 'object' || typeof b !== 'object' || !a || !b) return Object.is(a, b)
  const [x, y] = ArrayBuffer.isView(a) || ArrayBuffer.isView(b) ? [[...a], [...b]] : [a, b]
  return Object.keys(y).length === Object.keys(x).length && Object.keys(y).every((key) => same(x[key], y[key]))
}
`

const failures = []
const fail = (where, why) => failures.push(`${where}: ${why}`)

if (!fs.existsSync(path.join(dist, 'index.d.ts'))) {
  console.error('dist/index.d.ts is not there: run `npm run build` first.')
  process.exit(1)
}
fs.rmSync(work, { recursive: true, force: true })
fs.mkdirSync(work, { recursive: true })
try {
  const documents = ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', ...markdownIn(root, 'docs')].filter((file) =>
    fs.existsSync(path.join(root, file)),
  )
  const fences = documents
    .flatMap((document) => fencesOf(root, document))
    .filter(({ language, file }) => file || languages.includes(language))
  const exported = new Declarations(dist).exportsOf('index.d.ts')
  const examples = examplesOf(dist, exported)
  const selfContained = checkTypes([...fences.filter(({ language }) => ['ts', 'js'].includes(language)), ...examples], [...exported.keys()])
  const ran =
    runFences(fences.filter(({ run, file }) => run || file)) + runExamples(examples.filter((example) => selfContained.has(example)))
  for (const line of failures) console.error(line)
  console.log(`${fences.length} code blocks, ${examples.length} examples, ${ran} of them run, ${failures.length} failures`)
} finally {
  fs.rmSync(work, { recursive: true, force: true })
}
process.exitCode = failures.length ? 1 : 0

/** @returns {Set<object>} the pieces in which every name is declared */
function checkTypes(pieces, exported) {
  const free = new Map(pieces.map((piece) => [piece, new Set()]))
  writeTypeScript(pieces, exported, free)
  for (const { piece, code, message } of diagnostics(pieces)) {
    const name = unknownName.has(code) ? /'(\w+)'/.exec(message)?.[1] : undefined
    if (name && !isCalled(name, piece.code)) free.get(piece).add(name)
  }
  writeTypeScript(pieces, exported, free)
  for (const { piece, line, code, message } of diagnostics(pieces)) fail(piece.where, `TS${code} ${message} (${line})`)
  return new Set(pieces.filter((piece) => !free.get(piece).size))
}

/** Names that are called or look like types must be declared. */
function isCalled(name, code) {
  return /^[A-Z]/.test(name) || new RegExp(`(?<![.\\w])${name}\\(`).test(code)
}

/** Each piece as a module: with the imports that it needs, and its free names declared to be anything. */
function writeTypeScript(pieces, exported, free) {
  const compilerOptions = {
    noUnusedLocals: false,
    noUnusedParameters: false,
    verbatimModuleSyntax: false,
    rootDir: '.',
    paths: {},
    types: ['node'],
    typeRoots: ['../../node_modules/@types'],
  }
  fs.writeFileSync(path.join(work, 'tsconfig.json'), JSON.stringify({ extends: '../../tsconfig.json', compilerOptions, include: ['*.ts'] }))
  pieces.forEach((piece, i) => {
    const own = declaredIn(piece.code)
    const used = exported.filter((name) => !own.has(name) && new RegExp(`(?<![.\\w])${name}\\b`).test(piece.code))
    const imports = /^import /m.test(piece.code) ? '' : `import { ${used.join(', ')} } from 'tinsmith'\n`
    const declared = [...free.get(piece)].map((name) => `declare const ${name}: any\n`).join('')
    piece.module = `${imports}${piece.code}`
    fs.writeFileSync(path.join(work, `piece${i}.ts`), `${imports}${declared}${piece.code}\nexport {}\n`)
  })
}

function declaredIn(code) {
  const heads = code.matchAll(/\b(?:const|let|class|function|interface|type) (\{[^}]*\}|\[[^\]]*\]|\w+)/g)
  return new Set([...heads].flatMap((match) => match[1].match(/\w+/g) ?? []))
}

function diagnostics(pieces) {
  const { stdout } = spawnSync(process.execPath, [path.join(root, 'node_modules/typescript/lib/tsc.js'), '-p', work, '--pretty', 'false'], {
    encoding: 'utf8',
    cwd: work,
  })
  const found = [...stdout.matchAll(/^piece(\d+)\.ts\((\d+),\d+\): error TS(\d+): (.*)$/gm)]
  if (!found.length && stdout.trim()) fail('type check', stdout.trim().split('\n')[0])
  return found.map(([, index, line, code, message]) => {
    const source = fs.readFileSync(path.join(work, `piece${index}.ts`), 'utf8').split('\n')
    return { piece: pieces[Number(index)], line: source[Number(line) - 1].trim(), code, message }
  })
}

/** An empty folder with links to the models and data that the code names; null, with a message, when one is absent. */
function scratch(where, code, folder = fs.mkdtempSync(path.join(work, 'run-'))) {
  for (const [name, target] of Object.entries(fixtures)) {
    if (!code.includes(name)) continue
    if (!fs.existsSync(target)) {
      console.warn(`skipped: ${where}: ${target} is absent`)
      return null
    }
    if (!fs.existsSync(path.join(folder, name))) fs.symlinkSync(target, path.join(folder, name))
  }
  return folder
}

/** Runs the blocks of each document in its order; what comes after a skipped one is skipped too. */
function runFences(fences) {
  const folders = new Map()
  const commands = path.join(work, 'bin')
  fs.mkdirSync(commands)
  const command = (name, text) => fs.writeFileSync(path.join(commands, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 })
  command('tinsmith', `exec "${process.execPath}" "${path.join(root, 'bin/tinsmith.js')}" "$@"`)
  command('npx', 'exec "$@"')
  const env = { ...process.env, PATH: `${commands}${path.delimiter}${process.env.PATH}`, TINSMITH_CACHE: path.join(work, 'cache') }
  let ran = 0
  for (const { document, language, file, code, where } of fences) {
    const folder = folders.get(document) === null ? null : scratch(where, code, folders.get(document))
    folders.set(document, folder)
    if (!folder) continue
    if (file) {
      fs.writeFileSync(path.join(folder, file), code)
      continue
    }
    ran++
    const script = path.join(folder, language === 'sh' ? '.block.sh' : '.block.mjs')
    fs.writeFileSync(script, language === 'sh' ? code : transformSync(code, { loader: 'ts', format: 'esm' }).code)
    const words = language === 'sh' ? ['bash', '-euo', 'pipefail', script] : [process.execPath, script]
    const { status, stderr, error } = spawnSync(words[0], words.slice(1), { cwd: folder, env, encoding: 'utf8', timeout })
    if (status !== 0) fail(where, `exit ${status}: ${(error?.message ?? stderr).trim().split('\n').slice(-4).join(' | ')}`)
  }
  return ran
}

/** Runs examples that say what they give: `expression // value`. */
function runExamples(examples) {
  let ran = 0
  for (const { module, code, where } of examples) {
    let checks = 0
    const checked = module.replace(/^(?!\s*\/\/)(.*\S) +\/\/ (.+)$/gm, (line, left, right) => {
      const value = right.replace(/\b((?:Big)?(?:Int|Uint|Float)\d+Array) \[/g, '$1.from([').replace(/^(.*\.from\(\[.*)$/, '$1)')
      if (!isExpression(left) || !isValue(value)) return line
      checks++
      return `__check(${JSON.stringify(left)}, (${left}), (${value}));`
    })
    if (!checks) continue
    const folder = scratch(where, code)
    if (!folder) continue
    ran++
    const script = path.join(folder, 'example.mjs')
    const body = transformSync(`${checked}\n${check}`, { loader: 'ts', format: 'esm' }).code
    fs.writeFileSync(script, body)
    const { status, stderr } = spawnSync(process.execPath, [script], { cwd: folder, encoding: 'utf8', timeout })
    if (status !== 0) fail(where, /^(?:\w*Error.*)$/m.exec(stderr)?.[0] ?? stderr.trim().split('\n').slice(-3).join(' | '))
  }
  return ran
}

function isExpression(text) {
  try {
    new Function(`return async () => (${text})`)
    return true
  } catch {
    return false
  }
}

/** Whether a text is a value that needs no other names. */
function isValue(text) {
  try {
    new Function(`'use strict'; return (${text})`)()
    return true
  } catch {
    return false
  }
}
