// Bundles the package for browsers as applications do, and fails when something of Node.js gets in. Prints the sizes.
import fs from 'node:fs'
import { builtinModules } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
const entry = path.join(root, 'dist', 'index.js')
if (!fs.existsSync(entry)) {
  console.error('dist/index.js is not there: run `npm run build` first.')
  process.exit(1)
}

const builtins = new Set(builtinModules.filter((name) => !name.startsWith('_')))
const isForNode = (name) => name.startsWith('node:') || builtins.has(name.split('/')[0]) || /^(?:onnxruntime-node|koffi)(?:\/|$)/.test(name)
const found = []

/** Notes imports that browsers do not have; the library that runs graphs comes separately, as applications load it. */
const watch = {
  name: 'watch',
  setup({ onResolve }) {
    onResolve({ filter: /^[^./#]/ }, ({ path: name, importer }) => {
      if (importer && isForNode(name)) {
        found.push(`${path.relative(root, importer)} imports ${name}`)
        return { path: name, external: true }
      }
      return name.startsWith('onnxruntime-web') ? { path: name, external: true } : undefined
    })
  },
}

const result = await build({
  entryPoints: [entry],
  absWorkingDir: root,
  bundle: true,
  format: 'esm',
  platform: 'browser',
  conditions: ['browser'],
  // The paths of tsconfig.json name the sources, and applications know nothing of them.
  tsconfigRaw: {},
  minify: true,
  metafile: true,
  write: false,
  outdir: 'bundle',
  splitting: true,
  logLevel: 'error',
  plugins: [watch],
})

for (const line of found) console.error(line)
const kilobytes = (bytes) => `${(bytes / 1024).toFixed(0)} KiB`
const files = result.outputFiles.map((file) => file.contents)
const total = files.reduce((sum, bytes) => sum + bytes.length, 0)
const packed = files.reduce((sum, bytes) => sum + gzipSync(bytes).length, 0)
console.log(`browser bundle: ${kilobytes(total)}, ${kilobytes(packed)} with gzip, without onnxruntime-web`)
for (const [name, bytes] of largestParts(result.metafile, 6)) console.log(`  ${kilobytes(bytes).padStart(9)}  ${name}`)
if (found.length) process.exitCode = 1

function largestParts({ outputs }, count) {
  const parts = new Map()
  for (const { inputs } of Object.values(outputs))
    for (const [input, { bytesInOutput }] of Object.entries(inputs)) {
      const part = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1] ?? /^dist\/([^/]+)/.exec(input)?.[1] ?? input
      parts.set(part, (parts.get(part) ?? 0) + bytesInOutput)
    }
  return [...parts].sort(([, a], [, b]) => b - a).slice(0, count)
}
