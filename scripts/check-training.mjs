/**
 * Trains checkpoints as their training.safetensors says (loss, labels, optimizer) and compares losses, gradients at the first
 * step and parameters after the last one with what it holds. One JSON line for each: {name, ok, losses, gradient, after5}.
 *
 *   npm run check:training -- FOLDER       a folder of checkpoints, or one checkpoint
 */
import fs from 'node:fs'
import path from 'node:path'
import { openFile } from '../dist/base/platform.node.js'
import { Random } from '../dist/base/random.js'
import { readSafetensors } from '../dist/formats/index.js'
import { architectureOf, checkpointTensors } from '../dist/models/index.js'
import { crossEntropy, meanSquare, nextTokenLoss } from '../dist/nn/losses.js'
import { Net } from '../dist/nn/net.js'
import { textFeeds } from '../dist/pipelines/feeds.js'
import { importModel } from '../dist/raise/import.js'
import { resolveGroups } from '../dist/train/groups.js'
import { portsOf } from '../dist/train/objectives/text-inputs.js'
import { adamW } from '../dist/train/optimizers/adamw.js'
import { isWeight } from '../dist/train/parameters.js'
import { TrainingStep } from '../dist/train/training-step.js'

/** Largest relative difference of losses, gradients (as a share of the allowed one: 1) and parameters. */
const limits = { losses: 1e-4, gradient: 1, after5: 1e-4 }

async function readTensors(file) {
  const { tensors, metadata } = await readSafetensors(await openFile(file))
  const arrays = new Map()
  for (const [name, tensor] of tensors) arrays.set(name, await tensor.array())
  return { arrays, metadata }
}

/** The losses that training files name. */
const losses = {
  'cross-entropy': (net, outputs) => crossEntropy(net, outputs.logits, net.input('labels', 'int64', outputs.logits.shape.slice(0, -1))),
  'next-token': (net, outputs) => nextTokenLoss(net, outputs.logits, net.graph.value('input_ids')),
  'mean-square': (net, outputs) => meanSquare(net, outputs.last_hidden_state, net.float(0)),
}

/** A batch for the graph's inputs: what the reference was given, and what follows from it (positions, empty caches). */
function feedsOf(graph, reference, labels) {
  const given = Object.fromEntries([...reference].filter(([name]) => name.startsWith('in.')).map(([name, array]) => [name.slice(3), array]))
  const text = given.input_ids
    ? textFeeds({ inputs: portsOf(graph) }, { attention_mask: onesLike(given.input_ids), ...given }, given)
    : given
  return labels ? { ...text, labels } : text
}

function onesLike({ dtype, shape, data }) {
  return { dtype, shape, data: data.map(() => 1n) }
}

function norm(values) {
  return Math.sqrt(values.reduce((sum, x) => sum + Number(x) ** 2, 0))
}

/** Norm of the difference over those elements that `counts` picks. */
function distance(a, b, counts = () => true) {
  let sum = 0
  for (let i = 0; i < a.length; i++) if (counts(i)) sum += (a[i] - b[i]) ** 2
  return Math.sqrt(sum)
}

async function check(folder) {
  const name = path.basename(folder)
  const { arrays, metadata } = await readTensors(path.join(folder, 'training.safetensors'))
  const { arrays: reference } = await readTensors(path.join(folder, 'reference.safetensors'))
  const { model } = await importModel(folder)
  const graph = model.graph
  const architecture = architectureOf(model.config)
  const build = losses[metadata.loss]
  if (!build) throw new Error(`the loss ${metadata.loss} is none of ${Object.keys(losses).join(', ')}`)
  if (metadata.optimizer !== 'adamw') throw new Error(`the optimizer ${metadata.optimizer} is not adamw`)
  const loss = (copy) => build(new Net(copy), Object.fromEntries(copy.outputs.map((output) => [output.name, output])))
  const wanted = [...arrays.keys()].filter((key) => key.startsWith('grad.')).map((key) => key.slice(5))
  const parameters = [...graph.constants.values()].filter((constant) => isWeight(constant) && wanted.includes(constant.name))
  const missing = wanted.filter((key) => !graph.constants.has(key))
  if (missing.length) throw new Error(`the graph has no parameter ${missing.join(', ')}`)
  const number = (key) => Number.parseFloat(metadata[key])
  const step = await TrainingStep.create(graph, {
    groups: resolveGroups(parameters, [], number('weight_decay')),
    optimizer: adamW({ beta1: number('beta1'), beta2: number('beta2'), epsilon: number('eps') }),
    loss,
  })
  const inLayout = async (memory) => {
    const copy = graph.clone()
    step.store.writeTo(copy, memory)
    const tensors = checkpointTensors(architecture, model.config, copy)
    return new Map(await Promise.all(wanted.map(async (key) => [key, await tensors.get(key).read()])))
  }
  const feeds = feedsOf(graph, reference, arrays.get('labels'))
  const expected = arrays.get('losses').data
  const found = []
  let gradients
  for (let i = 0; i < Number(metadata.steps); i++) {
    found.push((await step.run([feeds], i + 1, number('lr'), new Random(0))).loss)
    if (!gradients) {
      const flat = await step.store.alike()
      for (const entry of step.store.entries) flat.set(step.gradientOf(entry).data, entry.offset)
      gradients = await inLayout(flat)
    }
  }
  const after = await inLayout(step.store.values)
  await step.dispose()
  const all = norm(wanted.map((key) => norm(Array.from(arrays.get(`grad.${key}`).data))))
  let gradient = 0
  let after5 = 0
  for (const key of wanted) {
    const truth = arrays.get(`grad.${key}`).data
    gradient = Math.max(gradient, distance(gradients.get(key), truth) / (1e-4 * Math.max(norm(truth), 1e-4 * all)))
    const last = arrays.get(`after5.${key}`)?.data
    const counts = (i) => Math.abs(truth[i]) > 1e-6
    if (last) after5 = Math.max(after5, distance(after.get(key), last, counts) / norm(last))
  }
  const figures = { losses: Math.max(...found.map((x, i) => Math.abs(x - expected[i]) / Math.abs(expected[i]))), gradient, after5 }
  return { name, ok: Object.keys(limits).every((key) => figures[key] <= limits[key]), ...figures }
}

const [root] = process.argv.slice(2)
if (!root) {
  console.error('Which folder? npm run check:training -- FOLDER')
  process.exit(2)
}
const has = (folder) => fs.existsSync(path.join(folder, 'training.safetensors'))
const folders = has(root)
  ? [root]
  : fs
      .readdirSync(root)
      .map((name) => path.join(root, name))
      .filter(has)
if (!folders.length) {
  console.error(`${root} holds no checkpoint with a training.safetensors`)
  process.exit(2)
}
for (const folder of folders) {
  const line = await check(folder).catch((error) => ({ name: path.basename(folder), ok: false, error: error.message }))
  if (!line.ok) process.exitCode = 1
  console.log(JSON.stringify(line))
}
