// npm run bench:training-step [-- --rounds 10] [--json]: one step of training (forward, backward, AdamW; float32, two threads), ours against
// PyTorch's, in turn: milliseconds, the peak memory of both processes, and what a step takes beyond weights, gradients and moments, also with
// activations computed again.
import path from 'node:path'
import { Contestant, machine, median, modelPath, options, print, root, stop, torch } from './support.mjs'

const given = options({ rounds: 8 })
const peer = torch() ?? stop('There is nothing to compare with.')
const jobs = [
  { name: 'MiniLM 32 x 64', model: modelPath('all-MiniLM-L6-v2'), batch: 32, tokens: 64, recompute: true },
  { name: 'embedded encoder 8 x 24', model: path.join(root, 'assets/wordnet-classifier'), batch: 8, tokens: 24, recompute: false },
]

const rows = []
for (const { name, model, batch, tokens, recompute } of jobs) {
  const words = [model, String(batch), String(tokens)]
  const contestants = {
    tinsmith: new Contestant(process.execPath, [path.join(root, 'bench/training-step/ours.mjs'), ...words]),
    ...(recompute
      ? { recompute: new Contestant(process.execPath, [path.join(root, 'bench/training-step/ours.mjs'), ...words, 'recompute']) }
      : {}),
    torch: new Contestant(peer.file, [path.join(root, 'bench/python/training_step.py'), ...words]),
  }
  const before = {}
  for (const [key, contestant] of Object.entries(contestants)) before[key] = await contestant.ask('memory')
  const times = Object.fromEntries(Object.keys(contestants).map((key) => [key, []]))
  for (let round = 0; round < given.rounds + 2; round++)
    for (const [key, contestant] of Object.entries(contestants)) {
      const { milliseconds } = await contestant.ask('step')
      if (round >= 2) times[key].push(milliseconds)
    }
  const memory = {}
  for (const [key, contestant] of Object.entries(contestants)) memory[key] = await contestant.ask('memory')
  for (const contestant of Object.values(contestants)) contestant.end()
  // Gradients and two moments are touched by the first step; weights lie in memory before it, when what made the session is gone.
  const state = memory.tinsmith.parameters * 4 * 3
  const own = (key) => memory[key] && memory[key].peak - (before[key].resident ?? before[key].peak) - state
  rows.push({
    name,
    milliseconds: Object.fromEntries(Object.entries(times).map(([key, values]) => [key, median(values)])),
    ratio: median(times.torch) / median(times.tinsmith),
    peak: Object.fromEntries(Object.entries(memory).map(([key, { peak }]) => [key, peak])),
    own: Object.fromEntries(Object.keys(memory).map((key) => [key, own(key)])),
    'recompute share': memory.recompute ? own('recompute') / own('tinsmith') : null,
  })
}

const megabytes = (bytes) => (bytes === undefined ? '-' : Math.round(bytes / 1e6))
print(given, { ratios: Object.fromEntries(rows.map(({ name, ratio }) => [name, ratio])), rows, machine: machine(peer.versions) }, [
  [
    'one training step, medians',
    rows.map(({ name, milliseconds, ratio, peak, own, 'recompute share': share }) => ({
      model: name,
      'tinsmith ms': milliseconds.tinsmith.toFixed(1),
      'torch ms': milliseconds.torch.toFixed(1),
      'torch / tinsmith': ratio.toFixed(2),
      'recompute ms': milliseconds.recompute?.toFixed(1) ?? '-',
      'tinsmith MB': megabytes(peak.tinsmith),
      'torch MB': megabytes(peak.torch),
      'recompute MB': megabytes(peak.recompute),
      'own MB': megabytes(own.tinsmith),
      'recompute own MB': megabytes(own.recompute),
      share: share?.toFixed(2) ?? '-',
    })),
  ],
])
