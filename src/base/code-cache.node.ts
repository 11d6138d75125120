import fs from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import vm from 'node:vm'
import { keep, keptFile, readKept } from './kept-files.node.js'

/** What a bundle in the form of CommonJS holds: functions that run an entry's modules and give what it exports. */
type Entries = Readonly<Record<string, () => Readonly<Record<string, unknown>>>>

type Wrapper = (module: { exports: Entries }, require: NodeJS.Require, filename: string) => void

/**
 * Runs an entry of a bundle. What V8 compiled of it is kept in the cache, so that later processes need not do it again.
 * `TINSMITH_CODE_CACHE=off` does without.
 *
 * @param bundle a script whose name changes with its text; it has `require` and no `import()`, for which V8 keeps no code
 * @returns what the entry exports
 */
export function runEntry(bundle: URL, entry: string): Readonly<Record<string, unknown>> {
  const filename = fileURLToPath(bundle)
  const entries = loaded.get(filename) ?? load(bundle, filename, entry)
  loaded.set(filename, entries)
  return entries[entry]()
}

/** Entries of a bundle share its modules. */
const loaded = new Map<string, Entries>()

/** So many processes add what they compiled to what is kept: each goes other ways, and V8 forgets code that is not used for a while. */
const mostGenerations = 4

/** @param entry what is kept is what was compiled for the first entry of a process, and last the number of its generation */
function load(bundle: URL, filename: string, entry: string): Entries {
  const text = `(function (module, require, __filename) {${fs.readFileSync(filename, 'latin1')}\n})`
  const file = keptFile(filename, entry)
  const kept = file ? readKept(file) : undefined
  const cachedData = kept?.subarray(0, -1)
  const script = new vm.Script(text, { filename, cachedData })
  const generation = script.cachedDataRejected ? 0 : (kept?.at(-1) ?? 0)
  if (file && generation < mostGenerations) {
    process.once('exit', () => {
      const compiled = script.createCachedData()
      const more = generation && cachedData!.length > compiled.length ? cachedData! : compiled
      keep(file, Buffer.concat([more, Buffer.of(generation + 1)]))
    })
  }
  const module: { exports: Entries } = { exports: {} }
  ;(script.runInThisContext() as Wrapper)(module, createRequire(bundle), filename)
  return module.exports
}
