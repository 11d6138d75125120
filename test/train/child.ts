import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { buildSync } from 'esbuild'
import { sourceAliases } from '../../scripts/source-aliases.mjs'

/** Bundles a program, given as TypeScript that imports from `src/` and `test/`, so that it runs in a folder of its own. */
export function bundle(program: string, folder: string): string {
  const outfile = path.join(folder, 'program.mjs')
  buildSync({
    stdin: { contents: program, resolveDir: process.cwd(), loader: 'ts' },
    alias: sourceAliases('default'),
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    outfile,
  })
  fs.symlinkSync(path.resolve('node_modules'), path.join(folder, 'node_modules'))
  return outfile
}

/** What a program wrote until it ended, and its exit code or the signal that killed it. */
export async function runProgram(file: string, words: readonly string[]) {
  const child = spawn(process.execPath, [file, ...words], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  const end = await new Promise<number | NodeJS.Signals | null>((resolve) => child.once('close', (code, signal) => resolve(signal ?? code)))
  return { end, lines: text.split('\n').filter(Boolean) }
}
