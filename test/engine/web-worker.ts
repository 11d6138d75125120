import { mkdir, rm } from 'node:fs/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Builds worker.browser.ts for Node.js, so that tests of the sources need no dist/. Its address, and what removes it. */
export async function buildWorker(): Promise<{ url: URL; remove: () => Promise<void> }> {
  const folder = `${root}/node_modules/.cache/tinsmith-test`
  const file = `${folder}/worker-${process.pid}.mjs`
  await mkdir(folder, { recursive: true })
  await build({
    entryPoints: [`${root}/src/engine/ort/worker.browser.ts`],
    outfile: file,
    bundle: true,
    format: 'esm',
    platform: 'node',
    external: ['onnxruntime-web'],
    logLevel: 'error',
  })
  return { url: pathToFileURL(file), remove: () => rm(file, { force: true }) }
}
