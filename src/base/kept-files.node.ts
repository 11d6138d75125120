import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { cacheFolder, environment } from './cache-folder.node.js'

const digestBytes = 32

/** Scripts that have kept nothing new for so long are thought to be replaced. */
const mostDays = 30

/** The script of this module, where it is a bundle named after its text; modules of their own may change under the same name. */
export const thisScript: string | undefined =
  typeof __filename === 'string' && /^tinsmith-[0-9a-f]{16}\.cjs$/.test(path.basename(__filename)) ? __filename : undefined

/**
 * A file in the cache for what a script need not make again, or undefined where nothing may be kept (`TINSMITH_CODE_CACHE=off`).
 *
 * @param script path of a script whose name changes with its text
 */
export function keptFile(script: string, name: string): string | undefined {
  if (environment('TINSMITH_CODE_CACHE') === 'off') return undefined
  return path.join(cacheFolder(), 'code', [path.parse(script).name, process.version, process.arch].join('-'), name)
}

/** What the file holds, where it is whole and nobody else can have written it: what reads it believes all of it. */
export function readKept(file: string): Buffer | undefined {
  try {
    const { uid, mode } = fs.statSync(file)
    if (process.getuid && (uid !== process.getuid() || mode & 0o022)) return undefined
    const bytes = fs.readFileSync(file)
    const kept = bytes.subarray(digestBytes)
    return digestOf(kept).equals(bytes.subarray(0, digestBytes)) ? kept : undefined
  } catch {
    return undefined
  }
}

/** Writes the file, whole. Where that cannot be done, the next process makes its content again. */
export function keep(file: string, bytes: Uint8Array): void {
  try {
    const fresh = `${file}.${process.pid}`
    const folder = path.dirname(file)
    if (fs.mkdirSync(folder, { recursive: true, mode: 0o700 })) removeOld(path.dirname(folder))
    fs.writeFileSync(fresh, Buffer.concat([digestOf(bytes), bytes]), { mode: 0o600 })
    fs.renameSync(fresh, file)
  } catch {}
}

function removeOld(folder: string): void {
  for (const name of fs.readdirSync(folder)) {
    const script = path.join(folder, name)
    if (Date.now() - fs.statSync(script).mtimeMs > mostDays * 86_400_000) fs.rmSync(script, { recursive: true, force: true })
  }
}

function digestOf(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}
