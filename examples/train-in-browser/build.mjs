// npm run train-page [-- FOLDER]: bundles the page into a folder (dist-page by default) that any web server serves. Threads and shared
// memory need the headers COOP (same-origin) and COEP (require-corp).
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { sourceAliases } from '../../scripts/source-aliases.mjs'

const [here, root] = ['.', '../..'].map((to) => fileURLToPath(new URL(to, import.meta.url)))
const library = path.join(root, 'node_modules/onnxruntime-web/dist')
const browser = {
  bundle: true,
  format: 'esm',
  platform: 'browser',
  conditions: ['browser', 'onnxruntime-web-use-extern-wasm'],
  // The paths of tsconfig.json lead to the twins for Node.js.
  tsconfigRaw: {},
  alias: sourceAliases('browser'),
  logLevel: 'error',
}

/** Makes the page. */
export async function buildPage(out) {
  fs.rmSync(out, { recursive: true, force: true })
  fs.mkdirSync(path.join(out, 'ort'), { recursive: true })
  const entryPoints = [path.join(here, 'page.ts'), path.join(here, 'fine-tune.ts'), path.join(root, 'src/engine/ort/worker.browser.ts')]
  await build({ ...browser, entryPoints, entryNames: '[name]', outdir: out, splitting: true, minify: true })
  for (const file of ['index.html', 'page.css']) fs.copyFileSync(path.join(here, file), path.join(out, file))
  for (const file of ['ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm'])
    fs.copyFileSync(path.join(library, file), path.join(out, 'ort', file))
  fs.cpSync(path.join(root, 'src/recipes/presets'), path.join(out, 'presets'), { recursive: true })
  const { outputFiles } = await build({ ...browser, entryPoints: [path.join(root, 'src/report/style.ts')], write: false })
  const { style } = await import(`data:text/javascript,${encodeURIComponent(outputFiles[0].text)}`)
  fs.writeFileSync(path.join(out, 'report.css'), style.text)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const out = path.resolve(process.argv[2] ?? path.join(root, 'dist-page'))
  await buildPage(out)
  console.log(`the page is in ${out}`)
}
