/** What the trainings share: a folder for what is finished, lines of progress, and the writing of a model's folder. */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { writeFolder } from '#platform'
import { writeSafetensors } from '../../dist/formats/index.js'
import { LazyTensor } from '../../dist/ir/tensor.js'
import { architectureOf, checkpointTensors } from '../../dist/models/index.js'
import { sizeOf } from '../../dist/numbers/dtype.js'
import { adamW } from '../../dist/train/optimizers/adamw.js'
import { train } from '../../dist/train/trainer.js'

const secondsBetweenLines = 20

/** One run of one model's training; it goes on where an earlier one with the same scripts stopped. */
export class Run {
  #spoken = 0

  /** @param folder for what is finished; made where it is not there */
  constructor(name, folder) {
    this.name = name
    this.folder = folder
    fs.mkdirSync(folder, { recursive: true })
  }

  path(...parts) {
    return path.join(this.folder, ...parts)
  }

  say(text) {
    process.stderr.write(`${this.name}: ${text}\n`)
  }

  /** The result of work that is done once, kept as JSON. */
  async remember(what, work) {
    const file = this.path(`${what}.json`)
    if (fs.existsSync(file)) return JSON.parse(fs.readFileSync(file, 'utf8'))
    this.say(what)
    const result = await work()
    fs.writeFileSync(`${file}.part`, JSON.stringify(result))
    fs.renameSync(`${file}.part`, file)
    return result
  }

  /** Trains a graph with AdamW on two threads, with lines of progress and checkpoints. */
  async train(stage, graph, objective, samples, options) {
    const { steps, seed } = options
    const identity = createHash('sha256')
      .update(JSON.stringify([this.name, stage, options, samples.length]))
      .digest('hex')
    let [first, begin, smooth] = [0, 0, 0]
    const onStep = ({ step, loss }) => {
      if (!first) [first, begin, smooth] = [step, performance.now(), loss]
      smooth += 0.02 * (loss - smooth)
      if (performance.now() - this.#spoken < 1e3 * secondsBetweenLines) return
      this.#spoken = performance.now()
      const left = ((performance.now() - begin) / 6e4) * ((steps - step) / Math.max(1, step - first))
      this.say(`${stage}, step ${step} of ${steps}, loss ${smooth.toFixed(3)}${step > first ? `, ${left.toFixed(1)} minutes left` : ''}`)
    }
    const fixed = { optimizer: adamW({ beta2: 0.98 }), clipNorm: 1, threads: 2, seed }
    await train(graph, objective, samples, { ...fixed, ...options }, { folder: this.path(stage), identity, saveEvery: 200, onStep })
  }
}

/**
 * Writes a model's folder: weights as float16 in the layout of the Hugging Face libraries, and documents.
 *
 * @param documents texts, bytes, or what becomes JSON, by path
 * @returns how many weights there are, and the bytes of their file
 */
export async function writeModel(folder, config, graph, documents) {
  let parameters = 0
  await writeFolder(folder, { force: true }, async (target) => {
    const tensors = new Map()
    for (const [name, tensor] of checkpointTensors(architectureOf(config), config, graph)) {
      parameters += sizeOf(tensor.shape)
      tensors.set(name, new LazyTensor('float16', tensor.shape, () => tensor.read()))
    }
    await writeSafetensors(await target.create('model.safetensors'), tensors, { format: 'pt' })
  })
  addDocuments(folder, { 'config.json': config, ...documents })
  return { parameters, bytes: fs.statSync(path.join(folder, 'model.safetensors')).size }
}

/** Adds documents to a folder that is there. */
export function addDocuments(folder, documents) {
  for (const [name, document] of Object.entries(documents)) {
    const file = path.join(folder, name)
    fs.mkdirSync(path.dirname(file), { recursive: true })
    const plain = typeof document === 'string' || document instanceof Uint8Array
    fs.writeFileSync(file, plain ? document : `${JSON.stringify(document, null, 2)}\n`)
  }
}

/** A table of comma-separated values. */
export function csv(rows) {
  const cell = (value) => (/[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value))
  return `${rows.map((row) => row.map(cell).join(',')).join('\n')}\n`
}

/** How often the most frequent label occurs, in percent. */
export function majorityShare(labels) {
  const counts = new Map()
  for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1)
  return (100 * Math.max(...counts.values())) / labels.length
}

/** A random choice of samples, in an order of its own. */
export function chosen(samples, count, random) {
  return random
    .permutation(samples.length)
    .slice(0, count)
    .map((i) => samples[i])
}
