// npm run bench:first-vector [-- --rounds 9] [--json]: a fresh process from MiniLM's checkpoint folder to its first vector, against
// onnxruntime-node and a tokenizer from a ready ONNX file.
import path from 'node:path'
import { dot, machine, measure, median, modelPath, options, print, root, temporaryFolder, tinsmith } from './support.mjs'

const given = options({ rounds: 9 })
const source = modelPath('all-MiniLM-L6-v2')
const ready = path.join(temporaryFolder(), 'fp32')
const text = 'A man is playing a flute.'
await tinsmith('convert', source, ready)

const contestants = [
  { name: 'tinsmith, from the checkpoint', script: 'tinsmith.mjs', folder: source },
  { name: 'onnxruntime-node, from an ONNX file', script: 'onnxruntime.mjs', folder: ready },
]
const runs = contestants.map(() => [])
for (let round = -1; round < given.rounds; round++)
  for (const [i, { script, folder }] of contestants.entries()) {
    const found = await measure(process.execPath, [path.join(root, 'bench/first-vector', script), folder, text])
    if (round >= 0) runs[i].push(found)
  }
const vectors = runs.map(([{ stdout }]) => JSON.parse(stdout))
const cosine = dot(vectors[0], vectors[1])
if (!(cosine > 0.9999)) throw new Error(`the vectors differ: cosine ${cosine}`)

const figures = contestants.map(({ name }, i) => {
  const of = (key) => runs[i].map((run) => run[key])
  return { name, median: median(of('seconds')), best: Math.min(...of('seconds')), cpu: median(of('cpu')), peak: median(of('peak')) }
})
const ratio = {
  median: figures[0].median / figures[1].median,
  best: figures[0].best / figures[1].best,
  cpu: figures[0].cpu / figures[1].cpu,
}
const rows = figures.map(({ name, median: middle, best, cpu, peak }) => ({
  process: name,
  'ms, median': (1e3 * middle).toFixed(0),
  'ms, best': (1e3 * best).toFixed(0),
  'processor ms': (1e3 * cpu).toFixed(0),
  'peak MB': (peak / 1e6).toFixed(0),
}))
const ratioRow = {
  process: 'ratio (wanted: at most 2)',
  'ms, median': ratio.median.toFixed(2),
  'ms, best': ratio.best.toFixed(2),
  'processor ms': ratio.cpu.toFixed(2),
  'peak MB': (figures[0].peak / figures[1].peak).toFixed(2),
}
print(given, { figures, ratio, cosine, rounds: given.rounds, machine: machine() }, [['Fresh process to first vector', [...rows, ratioRow]]])
