// npm run bench:first-vector [-- --rounds 9] [--json]: a fresh process from MiniLM's checkpoint folder to its first vector, against
// onnxruntime-node and a tokenizer from a ready ONNX file.
import path from 'node:path'
import { inTurn } from './contest.mjs'
import { source } from './minilm.mjs'
import { dot, machine, measure, median, options, print, root, temporaryFolder, tinsmith } from './support.mjs'

const given = options({ rounds: 9 })
const ready = path.join(temporaryFolder(), 'fp32')
const text = 'A man is playing a flute.'
await tinsmith('convert', source, ready)

const contestants = {
  'tinsmith, from the checkpoint': { script: 'tinsmith.mjs', folder: source },
  'onnxruntime-node, from an ONNX file': { script: 'onnxruntime.mjs', folder: ready },
}
const runs = await inTurn(Object.keys(contestants), given.rounds, (name) => {
  const { script, folder } = contestants[name]
  return measure(process.execPath, [path.join(root, 'bench/first-vector', script), folder, text])
})
const vectors = Object.values(runs).map(([{ stdout }]) => JSON.parse(stdout))
const cosine = dot(vectors[0], vectors[1])
if (!(cosine > 0.9999)) throw new Error(`the vectors differ: cosine ${cosine}`)

const figures = Object.entries(runs).map(([name, all]) => {
  const of = (key) => all.map((run) => run[key])
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
