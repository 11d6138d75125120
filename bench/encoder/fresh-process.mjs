// What fresh processes take: time to a first result, memory.
import path from 'node:path'
import { inTurn } from '../contest.mjs'
import { Contestant, dot, measure, median, root } from '../support.mjs'

const bench = (name) => path.join(root, 'bench', name)
const text = 'A man is playing a flute.'

/**
 * Seconds of a process from the int8 file to the vector of a text, tokenization included, ours and onnxruntime-node in turn. Ours finds what an
 * earlier process kept of the model; beside it stands one that keeps and finds nothing.
 */
export async function firstResults(folder, rounds) {
  const ours = [bench('first-vector/tinsmith.mjs'), folder, text, 'compiled']
  const commands = {
    tinsmith: [ours, {}],
    'onnxruntime-node': [[bench('first-vector/onnxruntime.mjs'), folder, text, 'model_quantized.onnx'], {}],
    'tinsmith, nothing kept': [ours, { TINSMITH_CODE_CACHE: 'off' }],
  }
  const runs = await inTurn(Object.keys(commands), rounds, async (name) => {
    const [words, env] = commands[name]
    const { seconds, cpu, stdout } = await measure(process.execPath, words, { env })
    return { seconds, cpu, vector: JSON.parse(stdout) }
  })
  const [found, theirs] = Object.values(runs)
  const medianOf = (all, key) => median(all.map((run) => run[key]))
  return {
    processes: Object.entries(runs).map(([name, all]) => ({ name, seconds: medianOf(all, 'seconds'), cpu: medianOf(all, 'cpu') })),
    cosine: dot(found[0].vector, theirs[0].vector),
    ratio: median(found.map(({ seconds }, round) => theirs[round].seconds / seconds)),
  }
}

/**
 * Bytes in memory of a process that has run a job of full batches; `shares` of weights and arenas: of the whole process, and of what it has
 * beyond a bare Node.js process.
 */
export async function residentMemory(folder, jobsFile, job, threads) {
  const contestant = new Contestant(process.execPath, [bench('encoder/ours.mjs'), folder, jobsFile, threads])
  for (let i = 0; i < 5; i++) await contestant.ask(`run ${job}`)
  const found = await contestant.ask('memory')
  contestant.end()
  const { resident, bare, weights, arenas } = found
  const shares = resident && arenas && { whole: resident / (weights + arenas), beyondBare: (resident - bare) / (weights + arenas) }
  return { ...found, shares }
}
