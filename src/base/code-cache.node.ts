import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import vm from 'node:vm'
import { cacheFolder, environment } from './cache-folder.node.js'

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

/** @param entry what is kept is what was compiled for the first entry of a process */
function load(bundle: URL, filename: string, entry: string): Entries {
  const text = `(function (module, require, __filename) {${fs.readFileSync(filename, 'latin1')}\n})`
  const place = placeOf(filename, entry)
  const cachedData = place ? readKept(place) : undefined
  const script = new vm.Script(text, { filename, cachedData })
  if (place && (!cachedData || script.cachedDataRejected)) process.once('exit', () => keep(place, script))
  const module: { exports: Entries } = { exports: {} }
  ;(script.runInThisContext() as Wrapper)(module, createRequire(bundle), filename)
  return module.exports
}

function placeOf(filename: string, entry: string): string | undefined {
  if (environment('TINSMITH_CODE_CACHE') === 'off') return undefined
  const name = [path.parse(filename).name, entry, process.version, process.arch].join('-')
  return path.join(cacheFolder(), 'code', name, 'compiled')
}

const digestBytes = 32

function digestOf(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}

/** What is kept there, where it is whole and nobody else can have written it: V8 believes all of it. */
function readKept(file: string): Buffer | undefined {
  try {
    const { uid, mode } = fs.statSync(file)
    if (process.getuid && (uid !== process.getuid() || mode & 0o022)) return undefined
    const bytes = fs.readFileSync(file)
    const code = bytes.subarray(digestBytes)
    return digestOf(code).equals(bytes.subarray(0, digestBytes)) ? code : undefined
  } catch {
    return undefined
  }
}

/** Where that cannot be done, the next process compiles again. */
function keep(file: string, script: vm.Script): void {
  try {
    const code = script.createCachedData()
    const fresh = `${file}.${process.pid}`
    fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 })
    fs.writeFileSync(fresh, Buffer.concat([digestOf(code), code]), { mode: 0o600 })
    fs.renameSync(fresh, file)
  } catch {}
}
