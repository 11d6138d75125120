// Compares what the built package declares to its users with api/public-api.d.ts; `--update` rewrites that file.
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Declarations } from './declarations.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const file = path.join(root, 'api', 'public-api.d.ts')
const title = `// biome-ignore-all format: generated
// biome-ignore-all assist: generated
// biome-ignore-all lint: generated
// The public API, written by \`npm run api -- --update\`. Read the differences in review: each changes what users can rely on.
`
const mostLines = 40

if (!fs.existsSync(path.join(root, 'dist', 'index.d.ts'))) fail('dist/index.d.ts is not there: run `npm run build` first.')
const parts = fs.readFileSync(path.join(root, 'src/load.ts'), 'utf8').match(/^export .*$/gm)
const now = `${title}${new Declarations(path.join(root, 'dist')).report('index.d.ts')}\n// tinsmith/load has of these:\n${parts.map((line) => `// ${line}`).join('\n')}\n`
const before = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : ''

if (now === before) console.log('the public API is as committed')
else if (process.argv.includes('--update')) {
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.writeFileSync(file, now)
  console.log(`wrote ${path.relative(root, file)}`)
} else {
  const differences = [...onlyIn(before, now, '-'), ...onlyIn(now, before, '+')]
  for (const line of differences.slice(0, mostLines)) console.error(line)
  if (differences.length > mostLines) console.error(`... and ${differences.length - mostLines} more lines`)
  fail('The public API differs from api/public-api.d.ts. If that is meant: npm run api -- --update, and say it in CHANGELOG.md.')
}

function onlyIn(text, other, mark) {
  const known = new Set(other.split('\n'))
  return text.split('\n').flatMap((line) => (known.has(line) ? [] : [`${mark} ${line}`]))
}

function fail(sentence) {
  console.error(sentence)
  process.exit(1)
}
