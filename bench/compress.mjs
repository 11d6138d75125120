// npm run bench:compress [-- --rounds 5] [--json]: time and peak memory of whole processes that quantize MiniLM, ours from the
// checkpoint to a written and checked folder, onnxruntime's Python tool from an fp32 ONNX file to a quantized one.
import fs from 'node:fs'
import path from 'node:path'
import { inTurn } from './contest.mjs'
import { calibrationFile, source, trainingPairs } from './minilm.mjs'
import { fp32Folder, onnxFile, plainFile } from './peers.mjs'
import { command, machine, measure, median, options, print, python, root, stop, temporaryFolder } from './support.mjs'

const given = options({ rounds: 3 })
/** As many as `tinsmith compress --calibrate` takes. */
const samples = 256
const peer = python() ?? stop('There is nothing to compare with.')
const work = temporaryFolder()
const ids = await calibrationFile(path.join(work, 'ids.json'), samples)
const quantize = path.join(root, 'bench/python/quantize.py')
const ours = (...words) => ({ file: process.execPath, args: (out) => [command, 'compress', source, out, '--fresh', ...words] })
const theirs = (kind, onnx, ...words) => ({ file: peer.file, args: (out) => [quantize, kind, onnx, `${out}.onnx`, ...words] })
const jobs = [
  { name: 'dynamic', tinsmith: ours('--recipe', 'int8-dynamic'), python: theirs('dynamic', onnxFile(await fp32Folder(), 'fp32')) },
  {
    name: `static, ${samples} samples`,
    tinsmith: ours('--recipe', 'int8', '--calibrate', trainingPairs),
    python: theirs('static', await plainFile(), ids),
  },
]

const figures = []
for (const job of jobs) {
  const runs = await inTurn(['tinsmith', 'python'], given.rounds, async (who) => {
    const out = path.join(work, who)
    const found = await measure(job[who].file, job[who].args(out), { env: { TINSMITH_CACHE: path.join(work, 'cache') } })
    for (const left of [out, `${out}.onnx`]) fs.rmSync(left, { recursive: true, force: true })
    return found
  })
  for (const [who, all] of Object.entries(runs)) {
    const of = (key) => all.map((run) => run[key])
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
