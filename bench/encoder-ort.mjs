// npm run bench:minilm [-- --rounds 7] [--threads 2] [--profile] [--no-python] [--json]: MiniLM through transformers.js as tinsmith writes it
// and as onnxruntime's Python tool quantizes our fp32 file. Quality, texts a second in interleaved rounds, a text alone against in a batch.
import fs from 'node:fs'
import path from 'node:path'
import { featureExtraction } from './feature-extraction.mjs'
import { devPairs, int8Folder, source } from './minilm.mjs'
import { onnxFile, onnxruntimeFolder, orLeftOut } from './peers.mjs'
import { dot, machine, mean, median, options, print, python, quantile, spearman, temporaryFolder, tinsmith } from './support.mjs'

const given = options({ rounds: 5, threads: 2, batch: 32, profile: false, 'no-python': false })
const texts = [...devPairs.map(([first]) => first), ...devPairs.map(([, second]) => second)]
const scores = devPairs.map((pair) => Number(pair[2]))
const byLength = [...texts.keys()].sort((a, b) => texts[a].length - texts[b].length)
const work = temporaryFolder()

const [fp32, dynamic] = ['fp32', 'int8-dynamic'].map((name) => path.join(work, name))
await tinsmith('convert', source, fp32)
await tinsmith('compress', source, dynamic, '--recipe', 'int8-dynamic')
const ours = [
  { name: 'fp32', folder: fp32, dtype: 'fp32' },
  { name: 'int8', folder: await int8Folder(path.join(work, 'int8')), dtype: 'q8' },
  { name: 'int8-dynamic', folder: dynamic, dtype: 'q8' },
]
const peer = given['no-python'] ? null : python()
const contestants = [...ours]
for (const kind of peer ? ['dynamic', 'dynamic-u8', 'static'] : []) {
  const folder = await orLeftOut(`python-${kind}`, () => onnxruntimeFolder(peer, kind))
  if (folder) contestants.push({ name: `python-${kind}`, folder, dtype: 'q8' })
}
for (const one of contestants) one.model = await featureExtraction(one.folder, one.dtype, given.threads)

/** Vectors of texts, in the order of the indexes. */
async function embed({ model }, indexes) {
  const { data, dims } = await model.embed(indexes.map((i) => texts[i]))
  return indexes.map((_, row) => data.slice(row * dims[1], (row + 1) * dims[1]))
}

/** All vectors, and texts a second. */
async function pass(one) {
  const vectors = new Array(texts.length)
  const start = performance.now()
  for (let at = 0; at < byLength.length; at += given.batch) {
    const indexes = byLength.slice(at, at + given.batch)
    for (const [row, vector] of (await embed(one, indexes)).entries()) vectors[indexes[row]] = vector
  }
  return { vectors, rate: texts.length / ((performance.now() - start) / 1e3) }
}

for (const one of contestants) {
  await embed(one, byLength.slice(-given.batch))
  one.rates = []
}
for (let round = 0; round < given.rounds; round++)
  for (const one of contestants) {
    const { vectors, rate } = await pass(one)
    one.rates.push(rate)
    one.vectors ??= vectors
  }

/** Least cosine of 200 texts alone to the same texts in their batches. */
async function aloneAgainstBatch(one) {
  const chosen = Array.from({ length: 200 }, (_, i) => byLength[Math.floor((i * byLength.length) / 200)])
  const cosines = []
  for (const i of chosen) cosines.push(dot((await embed(one, [i]))[0], one.vectors[i]))
  return Math.min(...cosines)
}

/** A vector of each pair's cosines; the vectors have length 1. */
const similarities = ({ vectors }) => devPairs.map((_, i) => dot(vectors[i], vectors[devPairs.length + i]))

const [full] = contestants
const figures = []
for (const one of contestants) {
  const cosines = one.vectors.map((vector, i) => dot(vector, full.vectors[i]))
  figures.push({
    name: one.name,
    bytes: fs.statSync(onnxFile(one.folder, one.dtype)).size,
    rate: { median: median(one.rates), best: Math.max(...one.rates) },
    ratio: { median: median(one.rates.map((rate, i) => rate / full.rates[i])), best: Math.max(...one.rates) / Math.max(...full.rates) },
    spearman: spearman(similarities(one), scores),
    cosine: { mean: mean(cosines), lowest1Percent: quantile(cosines, 0.01) },
    alone: await aloneAgainstBatch(one),
  })
}
const rows = figures.map(({ name, bytes, rate, ratio, spearman: quality, cosine, alone }) => ({
  model: name,
  MB: (bytes / 1e6).toFixed(1),
  'texts/s, median': rate.median.toFixed(0),
  best: rate.best.toFixed(0),
  'ratio, median': ratio.median.toFixed(2),
  'ratio, best': ratio.best.toFixed(2),
  spearman: quality.toFixed(2),
  loss: (figures[0].spearman - quality).toFixed(2),
  'cosine, mean': cosine.mean.toFixed(4),
  '1 %': cosine.lowest1Percent.toFixed(4),
  'alone, least': alone.toFixed(6),
}))
for (const { model } of contestants) await model.dispose()
const profiles = given.profile ? await operatorTimes() : {}
const tables = Object.entries(profiles).map(([name, operators]) => [`Operators of ${name}, ms for 10 batches of 32x32 tokens`, operators])
const setting = { threads: given.threads, batch: given.batch, rounds: given.rounds }
print(given, { figures, profiles, ...setting, machine: machine({ ...setting, ...peer?.versions }) }, [
  ['all-MiniLM-L6-v2 through transformers.js, STS-B dev, batches sorted by length', rows],
  ...tables,
])

/** Time by type of operator, of each file of ours, as ONNX Runtime's profile tells it. */
async function operatorTimes() {
  const { runtime } = await import('../dist/engine/ort/runtime.node.js')
  const found = {}
  for (const { name, folder, dtype } of ours) {
    const session = await runtime.load({ path: onnxFile(folder, dtype) }, { threads: given.threads, profile: true })
    const [rowCount, length] = [32, 32]
    const filled = (value) => ({
      dtype: 'int64',
      shape: [rowCount, length],
      data: BigInt64Array.from({ length: rowCount * length }, value),
    })
    const feeds = {
      input_ids: filled((_, i) => BigInt(1000 + ((i * 7919) % 20000))),
      attention_mask: filled(() => 1n),
      token_type_ids: filled(() => 0n),
    }
    for (let i = 0; i < 10; i++) for (const output of Object.values(await session.run(feeds))) output.dispose()
    const times = await session.profile()
    await session.dispose()
    const all = times.reduce((sum, { milliseconds }) => sum + milliseconds, 0)
    const byOperator = Map.groupBy ? Map.groupBy(times, ({ operator }) => operator) : groupBy(times)
    found[name] = [...byOperator]
      .map(([operator, list]) => ({
        operator,
        milliseconds: list.reduce((sum, { milliseconds }) => sum + milliseconds, 0),
        nodes: list.length,
      }))
      .sort((a, b) => b.milliseconds - a.milliseconds)
      .map(({ operator, milliseconds, nodes }) => ({
        operator,
        ms: milliseconds.toFixed(1),
        share: `${((100 * milliseconds) / all).toFixed(1)} %`,
        nodes,
      }))
  }
  return found
}

function groupBy(times) {
  const groups = new Map()
  for (const time of times) groups.set(time.operator, [...(groups.get(time.operator) ?? []), time])
  return groups
}
