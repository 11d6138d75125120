// Puts what Node.js runs into one script below dist/node/, with a module for each entry: opening hundreds of small files is most of the time
// that a start takes, and what V8 compiled of a script can be kept.
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const [dist, modules] = [path.join(root, 'dist'), path.join(root, 'node_modules')]
const out = path.join(dist, 'node')
const entries = { index: 'index.js', load: 'load.js', main: 'cli/main.js' }
/** Packages whose code goes in, by their ES modules: many small files, or much to compile at every start. All others stay packages. */
const bundled = {
  zod: 'zod/index.js',
  yaml: 'yaml/browser/index.js',
  '@huggingface/tokenizers': '@huggingface/tokenizers/dist/tokenizers.mjs',
  '@huggingface/jinja': '@huggingface/jinja/dist/index.js',
}

const packages = {
  name: 'packages',
  setup(bundle) {
    bundle.onResolve({ filter: /^[@\w]/ }, ({ path: name }) => {
      return bundled[name] ? { path: path.join(modules, bundled[name]) } : { path: name, external: true }
    })
  },
}

/** Files beside a module are looked for where the module came from. */
const addresses = {
  name: 'addresses',
  setup(bundle) {
    bundle.onLoad({ filter: /\.js$/ }, ({ path: file }) => {
      if (!file.startsWith(dist)) return undefined
      const address = JSON.stringify(path.relative(out, file).replaceAll(path.sep, '/'))
      const here = `new URL(${address}, require('node:url').pathToFileURL(__filename)).href`
      return { contents: fs.readFileSync(file, 'utf8').replaceAll('import.meta.url', here), loader: 'js' }
    })
  },
}

const shared = {
  // Scripts whose compiled code was kept have none; other modules of the bundle are at hand anyway.
  supported: { 'dynamic-import': false },
  absWorkingDir: root,
  bundle: true,
  write: false,
  platform: 'node',
  target: 'node20.19',
  // Less to read at every start; names stay, for traces of errors.
  minifyWhitespace: true,
  minifySyntax: true,
  // The aliases of tsconfig.json lead to the sources.
  tsconfigRaw: {},
  plugins: [packages, addresses],
  logLevel: 'warning',
}

async function bundleOf(contents, format) {
  const { outputFiles } = await build({ ...shared, format, stdin: { contents, resolveDir: dist } })
  return outputFiles[0].text
}

fs.rmSync(out, { recursive: true, force: true })
fs.mkdirSync(out, { recursive: true })
const functions = Object.entries(entries).map(([name, file]) => `${name}: () => require('./${file}')`)
const script = await bundleOf(`module.exports = { ${functions.join(', ')} }`, 'cjs')
const scriptName = `tinsmith-${createHash('sha256').update(script).digest('hex').slice(0, 16)}.cjs`
fs.writeFileSync(path.join(out, scriptName), script)
fs.writeFileSync(path.join(out, 'run-entry.js'), await bundleOf("export { runEntry } from './base/code-cache.node.js'", 'esm'))
for (const name of Object.keys(entries)) {
  const names = name === 'main' ? [] : Object.keys(createRequire(import.meta.url)(path.join(out, scriptName))[name]())
  const run = `runEntry(new URL('./${scriptName}', import.meta.url), '${name}')`
  const exported = names.length ? `export const { ${names.join(', ')} } = ${run}` : run
  fs.writeFileSync(path.join(out, `${name}.js`), `import { runEntry } from './run-entry.js'\n\n${exported}\n`)
}
const licences = Object.keys(bundled).map((name) => `${name}\n\n${fs.readFileSync(path.join(modules, name, 'LICENSE'), 'utf8')}`)
fs.writeFileSync(path.join(out, 'LICENSES'), licences.join('\n\n'))
