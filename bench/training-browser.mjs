// npm run bench:training-browser [-- --rounds 3 --steps 120] [--json]: a step of training as the page in examples/train-in-browser runs it in
// Chromium, against the same step in Node.js, in turn: milliseconds, and the bytes that cross the border of WebAssembly.
import fs from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'
import { buildPage } from '../examples/train-in-browser/build.mjs'
import { sourceAliases } from '../scripts/source-aliases.mjs'
import { machine, median, modelPath, options, print, root, stop, temporaryFolder } from './support.mjs'

const given = options({ rounds: 3, steps: 120 })
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
if (!fs.existsSync(executablePath)) stop(`there is no Chromium at ${executablePath}; CHROMIUM says where it is.`)
const embedded = path.join(root, 'assets/wordnet-classifier')
if (!fs.existsSync(embedded)) console.error(`${embedded} is absent and left out`)
const jobs = [
  ...(fs.existsSync(embedded) ? [{ name: 'embedded encoder 8 x 24', model: embedded, batch: 8, tokens: 24 }] : []),
  { name: 'MiniLM 8 x 24', model: modelPath('all-MiniLM-L6-v2'), batch: 8, tokens: 24 },
]

const work = temporaryFolder()
await buildPage(path.join(work, 'page'))
// Beside the packages that it imports.
const forNode = path.join(root, 'node_modules/.cache', `training-browser-${process.pid}.mjs`)
await build({
  entryPoints: [path.join(root, 'examples/train-in-browser/fine-tune.ts')],
  outfile: forNode,
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  tsconfigRaw: {},
  alias: sourceAliases('default'),
  define: { 'import.meta.url': JSON.stringify(pathToFileURL(path.join(root, 'src/recipes/training.ts')).href) },
})
const { fineTune } = await import(pathToFileURL(forNode).href)
fs.rmSync(forNode)

const server = await serve()
const browser = await chromium.launch({ executablePath, args: ['--headless', '--no-sandbox', '--disable-gpu'] })
const rows = []
for (const { name, model, batch, tokens } of jobs) {
  const examples = examplesFor(model, tokens)
  const job = { examples, changes: [`steps=${given.steps}`, `batchSize=${batch}`], seed: 0 }
  const times = { chromium: [], node: [] }
  let copied = 0
  for (let round = 0; round < given.rounds; round++) {
    times.node.push(typical((await fineTune({ ...job, source: model })).steps))
    const page = await browser.newPage()
    page.setDefaultTimeout(0)
    await page.goto(`${server.origin}/`)
    const steps = await page.evaluate(runInPage, { job, address: `/${encodeURIComponent(model)}/` })
    times.chromium.push(typical(steps))
    copied = steps.at(-1).copiedBytes
    await page.close()
  }
  const milliseconds = Object.fromEntries(Object.entries(times).map(([key, values]) => [key, median(values)]))
  rows.push({ name, milliseconds, ratio: milliseconds.chromium / milliseconds.node, copied })
}
await browser.close()
server.close()

print(given, { ratios: Object.fromEntries(rows.map(({ name, ratio }) => [name, ratio])), rows, machine: machine() }, [
  [
    'one training step (forward, backward, AdamW), medians',
    rows.map(({ name, milliseconds, ratio, copied }) => ({
      model: name,
      'node ms': milliseconds.node.toFixed(1),
      'chromium ms': milliseconds.chromium.toFixed(1),
      'chromium / node': ratio.toFixed(2),
      'copied MB': (copied / 1e6).toFixed(1),
    })),
  ],
])

/** Milliseconds of the later half of the steps: during the first ones room is made in memory, and the browser still optimizes WebAssembly. */
function typical(steps) {
  return median(steps.slice(steps.length >> 1).map(({ seconds }) => 1000 * seconds))
}

/** Texts of single-token words, all of the same length, in two classes. */
function examplesFor(model, tokens) {
  const { vocab } = JSON.parse(fs.readFileSync(path.join(model, 'tokenizer.json'), 'utf8')).model
  const words = Object.keys(vocab).filter((word) => /^[a-z]{3,}$/.test(word))
  return Array.from({ length: 200 }, (_, i) => ({
    label: i % 2 ? 'odd' : 'even',
    texts: [Array.from({ length: tokens - 2 }, (_, k) => words[(i * 7919 + k * 104729) % words.length]).join(' ')],
  }))
}

async function runInPage({ job, address }) {
  const { fetchedFolder, fineTune } = await import(new URL('fine-tune.js', document.baseURI).href)
  return (await fineTune({ ...job, source: await fetchedFolder(address) })).steps
}

/** The page and the models, isolated so that WebAssembly has threads. */
async function serve() {
  const types = {
    '.html': 'text/html',
    '.js': 'text/javascript',
    '.mjs': 'text/javascript',
    '.wasm': 'application/wasm',
    '.css': 'text/css',
  }
  const listening = createServer(({ url }, response) => {
    const [first, ...rest] = new URL(url, 'http://localhost').pathname.slice(1).split('/')
    const known = jobs.some(({ model }) => model === decodeURIComponent(first))
    const file = known ? path.join(decodeURIComponent(first), ...rest) : path.join(work, 'page', first || 'index.html', ...rest)
    if (!fs.existsSync(file)) return response.writeHead(404).end()
    const headers = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }
    response.writeHead(200, { ...headers, 'content-type': types[path.extname(file)] ?? 'application/octet-stream' })
    fs.createReadStream(file).pipe(response)
  })
  await new Promise((resolve) => listening.listen(0, '127.0.0.1', resolve))
  return { origin: `http://127.0.0.1:${listening.address().port}`, close: () => listening.close() }
}
