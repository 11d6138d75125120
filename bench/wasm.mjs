// npm run bench:wasm [-- --rounds 7] [--texts 400] [--json]: MiniLM int8 on our WebAssembly kernels against onnxruntime-web's q8 in Node.js 20
// and 24 and in Chromium, on one and two threads: 32 texts of 32 tokens, one of 16, and the quality of the vectors.
import fs from 'node:fs'
import path from 'node:path'
import { load } from 'tinsmith'
import { fullBatch, inBatches } from './batches.mjs'
import { filesOf, openChromium } from './chromium.mjs'
import { contest, measured, ratioTable, timesFaster } from './contest.mjs'
import { devPairs, int8Folder, tokenIds } from './minilm.mjs'
import { fp32Folder, onnxruntimeFolder, orLeftOut } from './peers.mjs'
import { Contestant, dot, machine, mean, median, options, print, python, root, stop, temporaryFolder } from './support.mjs'
import { nodeOf } from './wasm/node-versions.mjs'

const given = options({ rounds: 7, texts: 400 })
const work = temporaryFolder()
const tool = python() ?? stop('The q8 file that onnxruntime-web runs cannot be made.')
const folders = { tinsmith: await int8Folder(path.join(work, 'int8')), onnxruntime: await onnxruntimeFolder(tool, 'dynamic-u8') }

const chosen = devPairs.slice(0, given.texts).map(([first]) => first)
const repeatsOfOneText = 20
const shapes = ['32x32', '1x16']
const jobs = {
  '32x32': [fullBatch(32, 32)],
  '1x16': Array.from({ length: repeatsOfOneText }, () => fullBatch(1, 16)),
  texts: inBatches([...chosen.keys()], chosen.map(await tokenIds()), 32),
}
const jobsFile = path.join(work, 'jobs.json')
fs.writeFileSync(jobsFile, JSON.stringify(jobs))

const library = path.join(root, 'node_modules/onnxruntime-web/dist')
const versions = {}
const chromium = await orLeftOut('Chromium', () =>
  openChromium(work, path.join(root, 'bench/wasm/page.mjs'), { ...folders, 'onnxruntime-web': library }),
)
if (chromium) versions.chromium = chromium.version
const places = [await nodePlace(20), await nodePlace(24), chromium && { place: 'chromium', open: openInChromium }].filter(Boolean)
const settings = places.flatMap(({ place, open }) => [2, 1].map((threads) => ({ place, threads, open })))
const contestants = []
for (const { place, threads, open } of settings)
  for (const peer of Object.keys(folders)) {
    const name = nameOf(peer, place, threads)
    const process = await orLeftOut(name, () => open(peer, threads))
    if (process) contestants.push({ name, library: peer, place, threads, jobs: shapes, process })
  }
const times = await contest(contestants, given.rounds)
const pipeline = await load(await fp32Folder())
const exact = await pipeline.embed(chosen)
const rows = []
for (const { name, library: peer, place, threads, process } of contestants.filter((one) => times.has(one.name))) {
  const [about, vectors] = [await process.ask('about'), await process.ask('vectors')]
  const width = exact[0].length
  const cosine = mean(exact.map((vector, i) => dot(vector, vectors.slice(i * width, (i + 1) * width)) / length(vectors, i, width)))
  const [full, single] = shapes.map((job) => median(times.get(name)[job]))
  rows.push({ library: peer, place, threads, milliseconds: { '32x32': full, '1x16': single / repeatsOfOneText }, cosine, about })
}
for (const { process } of contestants) await process.end()
await chromium?.close()
await pipeline.session.dispose()

const ratios = measured(
  Object.fromEntries(
    settings.flatMap(({ place, threads }) =>
      shapes.map((shape) => {
        const [ours, peer] = Object.keys(folders).map((name) => nameOf(name, place, threads))
        return [`ort-web:${place}:${threads}t:${shape}`, timesFaster(times, ours, peer, shape)]
      }),
    ),
  ),
)
const { version } = JSON.parse(fs.readFileSync(path.join(library, '../package.json'), 'utf8'))
const here = machine({ ...versions, 'onnxruntime-web': version, rounds: given.rounds })
print(given, { ratios, rows, machine: here }, [
  [
    'all-MiniLM-L6-v2 int8 in WebAssembly, medians',
    rows.map(({ library: name, place, threads, milliseconds, cosine, about }) => ({
      library: name,
      place,
      threads,
      '32x32 ms': milliseconds['32x32'].toFixed(1),
      '1x16 ms': milliseconds['1x16'].toFixed(2),
      'cosine to float32': cosine.toFixed(4),
      'relaxed dot': about.dot ?? null,
    })),
  ],
  ratioTable(ratios, here),
])

async function nodePlace(major) {
  const found = await orLeftOut(`Node.js ${major}`, () => nodeOf(major))
  if (!found) return null
  versions[`node${major}`] = found.version
  const script = path.join(root, 'bench/wasm/node.mjs')
  const open = (name, threads) => new Contestant(found.file, [script, name, folders[name], jobsFile, threads], { TINSMITH_KERNELS: 'wasm' })
  return { place: `node${major}`, open }
}

function openInChromium(name, threads) {
  return chromium.contestant({ name, folder: name, files: filesOf(folders[name]), jobs, threads })
}

function nameOf(name, place, threads) {
  return `${name} in ${place} on ${threads} threads`
}

/** The length of the vector in this row. */
function length(data, row, width) {
  return Math.hypot(...data.slice(row * width, (row + 1) * width))
}
