// Answers `step` with the milliseconds of one training step (forward, backward, AdamW) and `memory` with the peak of this process and what it has now.
// ours.mjs MODEL BATCH TOKENS [recompute]
import { residualStream } from '../../dist/anatomy/stream.js'
import { Random } from '../../dist/base/random.js'
import { mean } from '../../dist/nn/losses.js'
import { Net } from '../../dist/nn/net.js'
import { ndarray } from '../../dist/numbers/dtype.js'
import { importModel } from '../../dist/raise/import.js'
import { resolveGroups } from '../../dist/train/groups.js'
import { adamW } from '../../dist/train/index.js'
import { isWeight } from '../../dist/train/parameters.js'
import { TrainingStep } from '../../dist/train/training-step.js'
import { answer, peakBytes, residentBytes } from '../answers.mjs'

const [folder, batch, tokens, recompute] = [
  process.argv[2],
  Number(process.argv[3]),
  Number(process.argv[4]),
  process.argv[5] === 'recompute',
]
const { model } = await importModel(folder)
const graph = model.graph
const loss = (copy) => {
  const [output] = copy.outputs
  const net = new Net(copy)
  return mean(net, net.op('Mul', [output, output]))
}
const probe = graph.clone()
probe.outputs.splice(0, probe.outputs.length, loss(probe))
probe.prune()
const parameters = [...graph.constants.values()].filter((constant) => isWeight(constant) && probe.constants.has(constant.name))
const step = await TrainingStep.create(graph, {
  groups: resolveGroups(parameters, [], 0.01),
  optimizer: adamW(),
  loss,
  threads: 2,
  checkpoints: recompute ? (copy) => residualStream(copy).slice(0, -1) : undefined,
})
const shape = [batch, tokens]
const filled = (value) => ndarray('int64', shape, Array.from({ length: batch * tokens }, value))
const feeds = {
  input_ids: filled((_, i) => 1000 + ((i * 7919) % 3000)),
  attention_mask: filled(() => 1),
  token_type_ids: filled(() => 0),
}
const wanted = Object.fromEntries(step.inputs.map((name) => [name, feeds[name]]))
let count = 0
await answer({
  step: async () => {
    const start = performance.now()
    const { loss: value } = await step.run([wanted], ++count, 1e-5, new Random(0))
    return { milliseconds: performance.now() - start, loss: value }
  },
  memory: () => ({ peak: peakBytes(), resident: residentBytes(), parameters: step.store.size }),
})
