import { type ChildProcess, spawn } from 'node:child_process'
import path from 'node:path'
import { buildSync } from 'esbuild'

/** Starts a program, given as TypeScript that imports from `src/`, as a process of its own; its files go to `folder`. */
export function startChild(program: string, folder: string): ChildProcess {
  const outfile = path.join(folder, `${Math.random()}.mjs`)
  buildSync({
    stdin: { contents: program, resolveDir: process.cwd(), loader: 'ts' },
    alias: { '#platform': path.resolve('src/base/platform.node.ts') },
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile,
  })
  return spawn(process.execPath, [outfile], { stdio: ['ignore', 'pipe', 'inherit'] })
}

/** How a process ended: its exit code or the signal that killed it. */
export function endOf(child: ChildProcess): Promise<number | NodeJS.Signals | null> {
  return new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? code)))
}
