// npm run bench:minilm [-- --rounds 7] [--threads 2] [--profile] [--no-python] [--json]: MiniLM through transformers.js as tinsmith writes it
// and as onnxruntime's Python tool quantizes our fp32 file. Quality, texts a second in interleaved rounds, a text alone against in a batch.
import fs from 'node:fs'
import path from 'node:path'
import { writePlainOnnx } from './plain-onnx.mjs'
import {
  dataPath,
  dot,
  machine,
  mean,
  measure,
  median,
  modelPath,
  options,
  print,
  python,
  quantile,
  readTable,
  root,
  spearman,
  temporaryFolder,
  tinsmith,
} from './support.mjs'

const given = options({ rounds: 5, threads: 2, batch: 32, profile: false, 'no-python': false })
const source = modelPath('all-MiniLM-L6-v2')
const train = dataPath('stsb', 'train.csv')
const pairs = readTable(dataPath('stsb', 'dev.csv'))
const texts = [...pairs.map(([first]) => first), ...pairs.map(([, second]) => second)]
const scores = pairs.map((pair) => Number(pair[2]))
const byLength = [...texts.keys()].sort((a, b) => texts[a].length - texts[b].length)
const work = temporaryFolder()
const { pipeline, env } = await import('@huggingface/transformers')
env.allowRemoteModels = false
env.localModelPath = work

await tinsmith('convert', source, path.join(work, 'fp32'))
await tinsmith('compress', source, path.join(work, 'int8'), '--recipe', 'int8', '--calibrate', train, '--fresh')
await tinsmith('compress', source, path.join(work, 'int8-dynamic'), '--recipe', 'int8-dynamic', '--fresh')
const contestants = [
  { name: 'fp32', dtype: 'fp32' },
  { name: 'int8', dtype: 'q8' },
  { name: 'int8-dynamic', dtype: 'q8' },
  ...(await pythonPeers()),
]

/** Our fp32 file quantized by onnxruntime's Python tool, in folders that transformers.js loads. */
async function pythonPeers() {
  const peer = given['no-python'] ? null : python()
  if (!peer) return []
  const calibration = path.join(work, 'ids.json')
  fs.writeFileSync(calibration, JSON.stringify(await calibrationIds()))
  const fused = path.join(work, 'fp32/onnx/model.onnx')
  const plain = await writePlainOnnx(source, path.join(work, 'plain.onnx'))
  const kinds = [
    { name: 'python-dynamic-s8', kind: 'dynamic', from: fused },
    { name: 'python-dynamic-u8', kind: 'dynamic-u8', from: fused },
    { name: 'python-static', kind: 'static', from: plain, words: [calibration] },
  ]
  const made = []
  for (const { name, kind, from, words = [] } of kinds) {
    const folder = path.join(work, name)
    fs.cpSync(path.join(work, 'fp32'), folder, { recursive: true, filter: (file) => !file.endsWith('.onnx') })
    const script = [path.join(root, 'bench/python/quantize.py'), kind, from]
    try {
      await measure(peer.file, [...script, path.join(folder, 'onnx/model_quantized.onnx'), ...words])
      made.push({ name, dtype: 'q8', versions: peer.versions })
    } catch (error) {
      console.error(`${name} is left out: ${error.message}`)
    }
  }
  return made
}

async function calibrationIds() {
  const { AutoTokenizer } = await import('@huggingface/transformers')
  const tokenizer = await AutoTokenizer.from_pretrained('fp32')
  const sentences = readTable(train).map(([first]) => first)
  const chosen = Array.from({ length: 256 }, (_, i) => sentences[Math.floor((i * sentences.length) / 256)])
  return chosen.map((sentence) => tokenizer.encode(sentence).slice(0, 128))
}

for (const one of contestants)
  one.extract = await pipeline('feature-extraction', one.name, { dtype: one.dtype, session_options: { intraOpNumThreads: given.threads } })

/** Vectors of texts, in the order of the indexes. */
async function embed({ extract }, indexes) {
  const { data, dims } = await extract(
    indexes.map((i) => texts[i]),
    { pooling: 'mean', normalize: true },
  )
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
const similarities = ({ vectors }) => pairs.map((_, i) => dot(vectors[i], vectors[pairs.length + i]))

const [full] = contestants
const figures = []
for (const one of contestants) {
  const cosines = one.vectors.map((vector, i) => dot(vector, full.vectors[i]))
  const file = path.join(work, one.name, 'onnx', one.dtype === 'fp32' ? 'model.onnx' : 'model_quantized.onnx')
  figures.push({
    name: one.name,
    bytes: fs.statSync(file).size,
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
for (const { extract } of contestants) await extract.dispose()
const profiles = given.profile ? await operatorTimes() : {}
const tables = Object.entries(profiles).map(([name, operators]) => [`Operators of ${name}, ms for 10 batches of 32x32 tokens`, operators])
const setting = { threads: given.threads, batch: given.batch, rounds: given.rounds }
print(given, { figures, profiles, ...setting, machine: machine({ ...setting, ...contestants.at(-1).versions }) }, [
  ['all-MiniLM-L6-v2 through transformers.js, STS-B dev, batches sorted by length', rows],
  ...tables,
])

/** Time by type of operator, of each file of ours, as ONNX Runtime's profile tells it. */
async function operatorTimes() {
  const { runtime } = await import('../dist/engine/ort/runtime.node.js')
  const found = {}
  for (const { name, dtype } of contestants.slice(0, 3)) {
    const file = path.join(work, name, 'onnx', dtype === 'fp32' ? 'model.onnx' : 'model_quantized.onnx')
    const session = await runtime.load({ path: file }, { threads: given.threads, profile: true })
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
