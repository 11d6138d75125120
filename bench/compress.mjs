// npm run bench:compress [-- --rounds 5] [--json]: time and peak memory of whole processes that quantize MiniLM, ours from the
// checkpoint to a written and checked folder, onnxruntime's Python tool from an fp32 ONNX file to a quantized one.
import fs from 'node:fs'
import path from 'node:path'
import { writePlainOnnx } from './plain-onnx.mjs'
import {
  command,
  dataPath,
  machine,
  measure,
  median,
  modelPath,
  options,
  print,
  python,
  readTable,
  root,
  stop,
  temporaryFolder,
  tinsmith,
} from './support.mjs'

const given = options({ rounds: 3 })
/** As many as `tinsmith compress --calibrate` takes. */
const samples = 256
const source = modelPath('all-MiniLM-L6-v2')
const texts = dataPath('stsb', 'train.csv')
const peer = python() ?? stop('There is nothing to compare with.')
const work = temporaryFolder()
const full = path.join(work, 'fp32')
const ids = path.join(work, 'ids.json')
await tinsmith('convert', source, full)
fs.writeFileSync(ids, JSON.stringify(await tokenIds()))

/** Token ids of as many sentences, taken evenly from the file, as our calibration takes. */
async function tokenIds() {
  const { Tokenizer } = await import('@huggingface/tokenizers')
  const document = (name) => JSON.parse(fs.readFileSync(path.join(source, name), 'utf8'))
  const tokenizer = new Tokenizer(document('tokenizer.json'), document('tokenizer_config.json'))
  const sentences = readTable(texts).flatMap((row) => row.slice(0, 2))
  const chosen = Array.from({ length: samples }, (_, i) => sentences[Math.floor((i * sentences.length) / samples)])
  return chosen.map((sentence) => tokenizer.encode(sentence).ids.slice(0, 128))
}

const plain = await writePlainOnnx(source, path.join(work, 'plain.onnx'))
const quantize = path.join(root, 'bench/python/quantize.py')
const ours = (...words) => ({ file: process.execPath, args: (out) => [command, 'compress', source, out, '--fresh', ...words] })
const theirs = (kind, onnx, ...words) => ({ file: peer.file, args: (out) => [quantize, kind, onnx, `${out}.onnx`, ...words] })
const jobs = [
  { name: 'dynamic', tinsmith: ours('--recipe', 'int8-dynamic'), python: theirs('dynamic', path.join(full, 'onnx/model.onnx')) },
  {
    name: `static, ${samples} samples`,
    tinsmith: ours('--recipe', 'int8', '--calibrate', texts),
    python: theirs('static', plain, ids),
  },
]

const figures = []
for (const job of jobs) {
  const runs = { tinsmith: [], python: [] }
  for (let round = -1; round < given.rounds; round++)
    for (const who of ['tinsmith', 'python']) {
      const out = path.join(work, `${who}-${figures.length}-${round + 1}`)
      const found = await measure(job[who].file, job[who].args(out), { env: { TINSMITH_CACHE: path.join(work, 'cache') } })
      if (round >= 0) runs[who].push(found)
      for (const left of [out, `${out}.onnx`]) fs.rmSync(left, { recursive: true, force: true })
    }
  for (const who of ['tinsmith', 'python']) {
    const of = (key) => runs[who].map((run) => run[key])
    figures.push({
      job: job.name,
      who,
      seconds: median(of('seconds')),
      best: Math.min(...of('seconds')),
      cpu: median(of('cpu')),
      peak: median(of('peak')),
    })
  }
}
const rows = figures.map(({ job, who, seconds, best, cpu, peak }, i) => {
  const other = figures[i | 1]
  return {
    job,
    tool: who === 'python' ? 'onnxruntime (Python)' : 'tinsmith',
    's, median': seconds.toFixed(2),
    's, best': best.toFixed(2),
    'processor s': cpu?.toFixed(2) ?? null,
    'peak MB': peak && (peak / 1e6).toFixed(0),
    'time, ratio (wanted <= 1)': (seconds / other.seconds).toFixed(2),
    'memory, ratio (wanted <= 0.5)': peak && (peak / other.peak).toFixed(2),
  }
})
print(given, { figures, rounds: given.rounds, machine: machine(peer.versions) }, [['Quantizing all-MiniLM-L6-v2, whole processes', rows]])
