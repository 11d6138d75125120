import { mkdir, rm } from 'node:fs/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { afterAll, beforeAll } from 'vitest'
import { placeWasmWorker } from '../../../../src/engine/compiled/wasm/workers.js'

const root = fileURLToPath(new URL('../../../..', import.meta.url))

/** Builds the thread's file for the tests of a file, so that tests of the sources need no dist/. */
export function useBuiltWorker(): void {
  const folder = `${root}/node_modules/.cache/tinsmith-test`
  const file = `${folder}/wasm-worker-${process.pid}-${Date.now()}.mjs`
  beforeAll(async () => {
    await mkdir(folder, { recursive: true })
    await build({
      entryPoints: [`${root}/src/engine/compiled/wasm/worker.ts`],
      outfile: file,
      bundle: true,
      format: 'esm',
      platform: 'node',
      logLevel: 'error',
    })
    placeWasmWorker({ worker: pathToFileURL(file) })
  })
  afterAll(() => rm(file, { force: true }))
}
