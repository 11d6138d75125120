// Puts what Node.js runs into a few files below dist/node/: opening hundreds of small ones is most of the time that a start takes.
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const [dist, modules] = [path.join(root, 'dist'), path.join(root, 'node_modules')]
const out = path.join(dist, 'node')
/** Packages whose code goes in, by their ES modules: many small files of which a start needs little. All others stay packages. */
const bundled = { zod: 'zod/index.js', yaml: 'yaml/browser/index.js' }

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
      const contents = fs.readFileSync(file, 'utf8').replaceAll('import.meta.url', `new URL(${address}, import.meta.url).href`)
      return { contents, loader: 'js' }
    })
  },
}

fs.rmSync(out, { recursive: true, force: true })
await build({
  absWorkingDir: root,
  entryPoints: ['index.js', 'load.js', 'cli/main.js'].map((file) => path.join(dist, file)),
  outdir: out,
  entryNames: '[name]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  // The aliases of tsconfig.json lead to the sources.
  tsconfigRaw: {},
  plugins: [packages, addresses],
  logLevel: 'warning',
})
const licences = Object.keys(bundled).map((name) => `${name}\n\n${fs.readFileSync(path.join(modules, name, 'LICENSE'), 'utf8')}`)
fs.writeFileSync(path.join(out, 'LICENSES'), licences.join('\n\n'))
