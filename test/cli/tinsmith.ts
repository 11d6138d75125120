import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { runCommandLine } from '../../src/cli/program.js'

const root = fileURLToPath(new URL('../../', import.meta.url))

export const bin = path.join(root, 'bin', 'tinsmith.js')

/** False (and a message) where the project is not built: the command line is tested as it is shipped. */
export const isBuilt = present(path.join(root, 'dist', 'cli', 'main.js'))

function present(file: string): boolean {
  if (fs.existsSync(file)) return true
  console.warn(`skipped: ${file} is absent (run npm run build)`)
  return false
}

export interface Ran {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a command line in this process. */
export async function run(...words: readonly string[]): Promise<Ran> {
  const written = { stdout: '', stderr: '' }
  const into = (name: 'stdout' | 'stderr') => ({
    write(text: string, done?: () => void) {
      written[name] += text
      done?.()
    },
  })
  const status = await runCommandLine(words, { stdout: into('stdout'), stderr: into('stderr') })
  return { status, ...written }
}

/** The document of a command that must succeed, run in this process. */
export async function document(...words: readonly string[]) {
  const { status, stdout, stderr } = await run(...words, '--json')
  if (status !== 0) throw new Error(`${words.join(' ')} exited ${status}: ${stderr}`)
  return JSON.parse(stdout)
}

/** Runs a command line as it is shipped, to its end. */
export function tinsmith(words: readonly string[], environment: Readonly<Record<string, string>> = {}): Ran {
  const run = spawnSync(process.execPath, [bin, ...words], {
    encoding: 'utf8',
    env: { ...process.env, ...environment },
    maxBuffer: 2 ** 28,
  })
  return { status: run.status, stdout: run.stdout, stderr: run.stderr }
}

/** A new folder for what a test writes. */
export function temporaryFolder(): string {
  return fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-cli-'))
}
