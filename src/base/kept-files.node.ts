import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { cacheFolder, environment } from './cache-folder.node.js'

const digestBytes = 32

/** Of all files that are kept. */
const mostBytes = 4 * 2 ** 30

/** The system reads at most 2 GiB at once. */
const largestPiece = 2 ** 30

const read = promisify(fs.read)

/** What has not been used for so long is thought to be of no use any more. */
const mostDays = 30

/** The script of this module, where it is a bundle named after its text; modules of their own may change under the same name. */
export const thisScript: string | undefined =
  typeof __filename === 'string' && /^tinsmith-[0-9a-f]{16}\.cjs$/.test(path.basename(__filename)) ? __filename : undefined

/**
 * A file in the cache for what a script need not make again, or undefined where nothing may be kept (`TINSMITH_CODE_CACHE=off`).
 *
 * @param script path of a script whose name changes with its text
 * @param parts what the content is, and all that it depends on beside the script; plain data
 */
export function keptFile(script: string, ...[what, ...parts]: readonly [string, ...unknown[]]): string | undefined {
  if (environment('TINSMITH_CODE_CACHE') === 'off') return undefined
  const name = parts.length ? `${what}-${digestOf(JSON.stringify(parts)).toString('hex')}` : what
  return path.join(cacheFolder(), 'code', [path.parse(script).name, process.version, process.arch].join('-'), name)
}

/** A file that was kept and is open; who gets one reads its body or closes it. */
export interface OpenKept {
  readonly head: Buffer
  /** Bytes behind the head. */
  readonly bodyBytes: number
  /** Reads all of these into memory of that size, and closes the file. */
  readBody(memory: Uint8Array): Promise<void>
  close(): void
}

/** Opens a file whose head is whole and that nobody else can have written: what reads it believes all of it. */
export function openKept(file: string): OpenKept | undefined {
  let descriptor: number | undefined
  const close = () => fs.closeSync(descriptor!)
  try {
    descriptor = fs.openSync(file, 'r')
    const { uid, mode, size } = fs.fstatSync(descriptor)
    const [digest, bytes] = [Buffer.alloc(digestBytes), Buffer.alloc(8)]
    fs.readvSync(descriptor, [digest, bytes])
    const head = Buffer.allocUnsafe(Math.min(size, Number(bytes.readBigUInt64LE())))
    fs.readSync(descriptor, head, 0, head.length, null)
    const bodyStart = digestBytes + bytes.length + head.length
    const isOurs = !process.getuid || (uid === process.getuid() && !(mode & 0o022))
    if (isOurs && digestOf(head).equals(digest))
      return { head, bodyBytes: size - bodyStart, readBody: (memory) => readBody(descriptor!, bodyStart, memory).finally(close), close }
  } catch {}
  if (descriptor !== undefined) close()
  return undefined
}

/** The head of such a file. */
export function readKept(file: string): Buffer | undefined {
  const kept = openKept(file)
  kept?.close()
  return kept?.head
}

async function readBody(descriptor: number, from: number, memory: Uint8Array): Promise<void> {
  const now = Date.now() / 1000
  fs.futimesSync(descriptor, now, now)
  for (let done = 0; done < memory.length; ) {
    const { bytesRead } = await read(descriptor, memory, done, Math.min(largestPiece, memory.length - done), from + done)
    if (!bytesRead) throw new Error('A file that was kept has been cut off')
    done += bytesRead
  }
}

/** Writes a file that has a head alone, whole. Where that cannot be done, the next process makes its content again. */
export function keep(file: string, head: Uint8Array): void {
  const fresh = freshName(file)
  try {
    makeRoom(file)
    fs.writeFileSync(fresh, Buffer.concat(headed(head)), { mode: 0o600 })
    fs.renameSync(fresh, file)
  } catch {
    remove(fresh)
  }
}

/** As {@link keep}, with a body of several pieces of memory, which stay as they are meanwhile; the event loop stays free. */
export async function keepWithBody(file: string, head: Uint8Array, body: readonly Uint8Array[]): Promise<void> {
  const fresh = freshName(file)
  try {
    makeRoom(file)
    await fs.promises.writeFile(fresh, [...headed(head), ...body], { mode: 0o600, flush: true })
    await fs.promises.rename(fresh, file)
  } catch {
    remove(fresh)
  }
}

function headed(head: Uint8Array): Uint8Array[] {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(head.length))
  return [digestOf(head), bytes, head]
}

/** Removes a file, if there is one that can be removed. */
function remove(file: string): void {
  try {
    fs.rmSync(file, { force: true })
  } catch {}
}

/** What a file is called until it is whole. */
function freshName(file: string): string {
  return `${file}.${process.pid}`
}

/**
 * Makes the folder of a file. Removes what has not been used for long, and beyond a size what has not been used for longest; other processes may do so
 * at the same time.
 */
function makeRoom(file: string): void {
  fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 })
  const folder = path.dirname(path.dirname(file))
  const files = fs
    .readdirSync(folder)
    .flatMap((script) => fs.readdirSync(path.join(folder, script)).map((name) => path.join(folder, script, name)))
  const found = files.flatMap((file) => {
    const stats = fs.statSync(file, { throwIfNoEntry: false })
    return stats ? [{ file, size: stats.size, mtimeMs: stats.mtimeMs }] : []
  })
  let bytes = 0
  for (const { file, size, mtimeMs } of found.sort((a, b) => b.mtimeMs - a.mtimeMs)) {
    bytes += size
    if (bytes > mostBytes || Date.now() - mtimeMs > mostDays * 86_400_000) remove(file)
  }
}

function digestOf(content: string | Uint8Array): Buffer {
  return createHash('sha256').update(content).digest()
}
