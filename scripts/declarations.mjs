import fs from 'node:fs'
import path from 'node:path'
import { withoutComments } from './source-text.mjs'

/**
 * What a package declares to its users: the declarations of emitted .d.ts files that the entry's exports reach, and no others.
 */
export class Declarations {
  #root
  #modules = new Map()
  #reached = new Map()

  /** @param {string} root folder of the emitted files */
  constructor(root) {
    this.#root = root
  }

  /** Names that a file exports, each with where it is declared. */
  exportsOf(file) {
    const { declared, forwarded } = this.#module(file)
    const names = new Map()
    for (const [name, { exported }] of declared) if (exported) names.set(name, { file, name })
    for (const { name, from, original } of forwarded) {
      const target = from === null ? { file, name: original } : this.#in(file, from)
      if (name === null) for (const [inner, place] of this.exportsOf(target.file)) names.set(inner, place)
      else names.set(name, from === null ? this.#resolve(file, original) : this.#from(target, original))
    }
    return names
  }

  /** One text: the entry's exports, then every declaration that they reach, file by file. */
  report(entry) {
    const exported = this.exportsOf(entry)
    for (const place of exported.values()) this.#reach(place)
    const lines = [...exported].map(([name, place]) => (place.name === name ? name : `${place.name} as ${name}`)).sort()
    const files = [...this.#reached.keys()].sort().filter((file) => this.#reached.get(file).size)
    return `export {\n${lines.map((line) => `  ${line},\n`).join('')}}\n${files.map((file) => this.#fileReport(file)).join('')}`
  }

  #fileReport(file) {
    const { declared } = this.#module(file)
    const wanted = [...declared].filter(([name]) => this.#reached.get(file).has(name))
    return `\n// ${file}\n${wanted.map(([, { texts }]) => `${texts.join('\n')}\n`).join('')}`
  }

  #reach(place) {
    if (!place || place.package) return
    const reached = this.#reached.get(place.file) ?? new Set()
    this.#reached.set(place.file, reached)
    if (place.name === '*') {
      for (const inner of this.exportsOf(place.file).values()) this.#reach(inner)
      return
    }
    if (reached.has(place.name)) return
    reached.add(place.name)
    const { declared } = this.#module(place.file)
    const text = declared.get(place.name)?.texts.join('\n') ?? ''
    for (const [, from, name] of text.matchAll(/\bimport\("([^"]+)"\)(?:\.(\w+))?/g))
      this.#reach(this.#from(this.#in(place.file, from), name ?? '*'))
    const words = text.replace(/'[^'\n]*'|"[^"\n]*"/g, '').match(/[A-Za-z_$][\w$]*/g)
    for (const word of new Set(words)) if (word !== place.name) this.#reach(this.#resolve(place.file, word))
  }

  /** Where a name that a file uses is declared; null for names of the language and of other scopes. */
  #resolve(file, name) {
    const { declared, imported } = this.#module(file)
    if (declared.has(name)) return { file, name }
    const source = imported.get(name)
    return source ? this.#from(this.#in(file, source.from), source.original) : null
  }

  #from(target, name) {
    if (target.package || name === '*') return { ...target, name }
    return this.exportsOf(target.file).get(name) ?? null
  }

  #in(file, from) {
    return from.startsWith('.') ? { file: path.posix.join(path.posix.dirname(file), from).replace(/\.js$/, '.d.ts') } : { package: from }
  }

  #module(file) {
    let module = this.#modules.get(file)
    if (!module) {
      module = readModule(fs.readFileSync(path.join(this.#root, file), 'utf8'))
      this.#modules.set(file, module)
    }
    return module
  }
}

/** Splits a .d.ts file into its statements, each of which begins in the first column; private members do not count. */
function readModule(source) {
  const module = { declared: new Map(), imported: new Map(), forwarded: [] }
  const code = withoutComments(source)
    .replace(/^ +(?:#private|private [^;]*);$/gm, '')
    .replace(/[ \t]+$/gm, '')
    .replace(/\n{2,}/g, '\n')
  for (const text of code.split(/\n(?=(?:export|import|declare|interface|type|class|enum)\b)/)) readStatement(text.trim(), module)
  return module
}

function readStatement(text, { declared, imported, forwarded }) {
  const from = /\bfrom ['"]([^'"]+)['"];?$/.exec(text)?.[1] ?? null
  const names = () => [.../\{([\s\S]*)\}/.exec(text)[1].matchAll(/(?:type )?([\w$]+)(?: as ([\w$]+))?\s*(?:,|$)/g)]
  const star = /^(?:import|export) (?:type )?\*(?: as ([\w$]+))?/.exec(text)
  if (text.startsWith('import')) {
    if (star) imported.set(star[1], { from, original: '*' })
    else if (text.includes('{')) for (const [, original, name = original] of names()) imported.set(name, { from, original })
    const single = /^import (?:type )?([\w$]+)(?:,| from)/.exec(text)
    if (single && single[1] !== 'type') imported.set(single[1], { from, original: 'default' })
  } else if (/^export (?:type )?[{*]/.test(text)) {
    if (star) forwarded.push({ name: star[1] ?? null, from, original: '*' })
    else for (const [, original, name = original] of names()) forwarded.push({ name, from, original })
  } else {
    const name =
      /^(?:export )?(?:declare )?(?:abstract )?(?:const enum|function|class|interface|type|const|let|var|enum|namespace) ([\w$]+)/.exec(
        text,
      )?.[1]
    if (!name) return
    const entry = declared.get(name) ?? { exported: text.startsWith('export'), texts: [] }
    entry.texts.push(text)
    declared.set(name, entry)
  }
}
