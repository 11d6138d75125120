// npm run bench:encoder [-- --rounds 7] [--threads 2] [--pairs 1500] [--json]: MiniLM on our kernels against OpenVINO, ONNX Runtime and transformers.js:
// full and ragged batches, one short text, with and without tokenization, quality, a fresh process's first result, resident memory.
import fs from 'node:fs'
import path from 'node:path'
import { load } from 'tinsmith'
import { fullBatch, inBatches } from './batches.mjs'
import { contest, measured, ratioTable, timesFaster } from './contest.mjs'
import { firstResults, residentMemory } from './encoder/fresh-process.mjs'
import { devPairs, int8Folder, source, tokenIds } from './minilm.mjs'
import { fp32Folder, onnxFile, onnxruntimeFolder, openvinoInt8, orLeftOut, plainFile } from './peers.mjs'
import {
  Contestant,
  dot,
  machine,
  mean,
  median,
  openvino,
  options,
  print,
  python,
  quantile,
  root,
  spearman,
  temporaryFolder,
} from './support.mjs'

const given = options({ rounds: 7, threads: 2, batch: 32, pairs: 1500 })
const pairs = devPairs.slice(0, given.pairs)
const texts = pairs.flatMap((row) => row.slice(0, 2))
const work = temporaryFolder()
const encode = await tokenIds()
const ids = texts.map(encode)
const byLength = [...texts.keys()].sort((a, b) => ids[a].length - ids[b].length)
const asTheyCome = [...texts.keys()]
const repeatsOfOneText = 50

const idJobs = {
  '32x128': [fullBatch(32, 128)],
  sorted: inBatches(byLength, ids, given.batch),
  'as-they-come': inBatches(asTheyCome, ids, given.batch),
  '1x16': Array.from({ length: repeatsOfOneText }, () => fullBatch(1, 16)),
}
const textJobs = { sorted: inBatches(byLength, texts, given.batch), 'as-they-come': inBatches(asTheyCome, texts, given.batch) }

const int8 = await int8Folder(path.join(work, 'int8'))
const fp32 = await fp32Folder()
const [onnxruntime, vino] = [python(), openvino()]
const contestants = [...(await idContestants()), ...(await textContestants())]
const times = await contest(contestants, given.rounds)
const quality = await qualities()
for (const { process } of contestants) process.end()
const first = await firstResults(int8, given.rounds)
const memory = await residentMemory(int8, written('full.json', { '32x128': idJobs['32x128'] }), '32x128', given.threads)

/** Engines on batches of token ids. */
async function idContestants() {
  const jobs = written('ids.json', idJobs)
  const ours = (folder, ...more) => new Contestant(process.execPath, [bench('encoder/ours.mjs'), folder, jobs, given.threads, ...more])
  const peer = ({ file }, library, model, ...more) =>
    new Contestant(file, [bench('python/encoder.py'), library, model, jobs, given.threads, ...more])
  const [all, full] = [Object.keys(idJobs), ['32x128']]
  const found = [
    { name: 'tinsmith int8', jobs: all, process: ours(int8) },
    { name: 'tinsmith int8, int8 attention', jobs: all, process: ours(int8, 'int8') },
    { name: 'tinsmith fp32', jobs: full, process: ours(source) },
  ]
  const add = async (name, chosen, make) => {
    const process = await orLeftOut(name, make)
    if (process) found.push({ name, jobs: chosen, process })
  }
  if (vino) {
    await add('openvino int8', all, async () => peer(vino, 'openvino', await openvinoInt8(vino)))
    await add('openvino fp32', full, async () => peer(vino, 'openvino', await plainFile(), 'f32'))
  }
  if (onnxruntime) {
    await add('onnxruntime int8 (its tool, dynamic)', all, async () =>
      peer(onnxruntime, 'onnxruntime', onnxFile(await onnxruntimeFolder(onnxruntime, 'dynamic'))),
    )
    await add('onnxruntime int8 (our file)', all, async () => peer(onnxruntime, 'onnxruntime', onnxFile(int8)))
    await add('onnxruntime fp32', full, async () => peer(onnxruntime, 'onnxruntime', onnxFile(fp32, 'fp32')))
  }
  return found
}

/** Libraries on texts. Both get the same calls of one batch each. */
async function textContestants() {
  const jobs = written('texts.json', textJobs)
  const of = (library, folder) => new Contestant(process.execPath, [bench('encoder/text.mjs'), library, folder, jobs, given.threads])
  const q8 = onnxruntime && (await orLeftOut('transformers.js q8', () => onnxruntimeFolder(onnxruntime, 'dynamic-u8')))
  const found = [{ name: 'tinsmith int8, texts', process: of('tinsmith', int8) }]
  if (q8) found.push({ name: 'transformers.js q8, texts', process: of('transformers.js', q8) })
  return found.map((one) => ({ ...one, jobs: Object.keys(textJobs) }))
}

/** Mean cosine to the float32 vectors and its 1 % quantile, and Spearman on the pairs, of each engine's vectors. */
async function qualities() {
  const pipeline = await load(fp32)
  const exact = await pipeline.embed(texts)
  await pipeline.session.dispose()
  const found = new Map()
  for (const { name, process } of contestants.filter((one) => times.has(one.name) && !one.name.endsWith('texts'))) {
    const file = path.join(work, 'vectors')
    await process.ask(`vectors ${file}`)
    const vectors = vectorsOf(file, exact[0].length)
    const cosines = vectors.map((vector, i) => dot(vector, exact[i]))
    const similarities = pairs.map((_, i) => dot(vectors[2 * i], vectors[2 * i + 1]))
    const scores = pairs.map((pair) => Number(pair[2]))
    found.set(name, { cosine: mean(cosines), lowest1Percent: quantile(cosines, 0.01), spearman: spearman(similarities, scores) })
  }
  return found
}

/** The vectors of a file in the order of the job `sorted`, in the order of the texts. */
function vectorsOf(file, width) {
  const bytes = fs.readFileSync(file)
  const data = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  const found = new Array(texts.length)
  for (const [row, text] of byLength.entries()) found[text] = data.slice(row * width, (row + 1) * width)
  return found
}

/** With attention in float32 or in int8, whichever is faster for the job here. */
const ratioTo = (peer, job) => {
  const found = ['tinsmith int8', 'tinsmith int8, int8 attention'].map((ours) => timesFaster(times, ours, peer, job))
  return found.includes(null) ? null : Math.max(...found)
}
const bestOfOnnxruntime = ['onnxruntime int8 (its tool, dynamic)', 'onnxruntime int8 (our file)'].map((peer) => ratioTo(peer, '32x128'))
const ratios = measured({
  ...Object.fromEntries(Object.keys(idJobs).map((job) => [`openvino-int8:${job}`, ratioTo('openvino int8', job)])),
  'onnxruntime-int8:32x128': bestOfOnnxruntime.includes(null) ? null : Math.min(...bestOfOnnxruntime),
  'openvino-fp32:32x128': timesFaster(times, 'tinsmith fp32', 'openvino fp32', '32x128'),
  'onnxruntime-fp32:32x128': timesFaster(times, 'tinsmith fp32', 'onnxruntime fp32', '32x128'),
  ...Object.fromEntries(
    Object.keys(textJobs).map((job) => [
      `transformers.js-q8:${job}`,
      timesFaster(times, 'tinsmith int8, texts', 'transformers.js q8, texts', job),
    ]),
  ),
  'onnxruntime-node:first-result': first.ratio,
})

const rows = [...times].map(([name, jobs]) => ({
  name,
  milliseconds: Object.fromEntries(
    Object.entries(jobs).map(([job, values]) => [job, median(values) / (job === '1x16' ? repeatsOfOneText : 1)]),
  ),
  quality: quality.get(name) ?? null,
}))
const setting = { threads: given.threads, batch: given.batch, rounds: given.rounds, pairs: pairs.length }
const here = machine({ kernels: memory.engine, ...onnxruntime?.versions, ...vino?.versions, ...setting })
const fixed = (value, digits) => (value === undefined || value === null ? null : value.toFixed(digits))
const rate = (milliseconds) => (milliseconds ? (1e3 * texts.length) / milliseconds : null)
const megabytes = (bytes) => fixed(bytes === null ? null : bytes / 1e6, 1)
print(given, { ratios, rows, first, memory, machine: here }, [
  [
    'all-MiniLM-L6-v2, medians; STS-B dev in batches, sorted by length and as they come',
    rows.map(({ name, milliseconds, quality: found }) => ({
      engine: name,
      '32x128 ms': fixed(milliseconds['32x128'], 1),
      '1x16 ms': fixed(milliseconds['1x16'], 2),
      'sorted, texts/s': fixed(rate(milliseconds.sorted), 0),
      'as they come': fixed(rate(milliseconds['as-they-come']), 0),
      'cosine to float32': fixed(found?.cosine, 4),
      '1 %': fixed(found?.lowest1Percent, 4),
      spearman: fixed(found?.spearman, 2),
    })),
  ],
  ratioTable(ratios, here),
  [
    'Fresh process from the int8 file to a first vector',
    first.processes.map(({ name, seconds, cpu }) => ({
      process: name,
      ms: fixed(1e3 * seconds, 0),
      'processor ms': fixed(cpu && 1e3 * cpu, 0),
      'cosine of the two': fixed(first.cosine, 6),
    })),
  ],
  [
    'Memory of a process that has run 32x128 in int8, MB',
    [
      {
        resident: megabytes(memory.resident),
        'beyond bare Node.js': megabytes(memory.resident && memory.resident - memory.bare),
        weights: megabytes(memory.weights),
        arenas: megabytes(memory.arenas),
        'resident / (weights + arenas)': fixed(memory.shares?.whole, 2),
        'beyond bare / (weights + arenas)': fixed(memory.shares?.beyondBare, 2),
      },
    ],
  ],
])

function written(name, document) {
  const file = path.join(work, name)
  fs.writeFileSync(file, JSON.stringify(document))
  return file
}

function bench(name) {
  return path.join(root, 'bench', name)
}
