/** A vision transformer that reads handwritten digits. */
import { Random } from '../../dist/base/random.js'
import { evaluate } from '../../dist/commands/evaluate.js'
import { architectureOf, freshGraphs } from '../../dist/models/index.js'
import { imageClassification } from '../../dist/train/objectives/image-classification.js'
import { schedule } from '../../dist/train/schedules.js'
import { mnistSplits } from './mnist.mjs'
import { moved } from './objectives.mjs'
import { greyPng } from './png.mjs'
import { addDocuments, chosen, majorityShare, writeModel } from './run.mjs'

const seed = 1
const batchSize = 32
const epochs = 24
const sampleCount = 200

const config = {
  model_type: 'vit',
  architectures: ['ViTForImageClassification'],
  image_size: 28,
  patch_size: 4,
  num_channels: 1,
  hidden_size: 96,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  intermediate_size: 192,
  hidden_act: 'gelu',
  qkv_bias: true,
  layer_norm_eps: 1e-12,
  initializer_range: 0.1,
  id2label: Object.fromEntries(Array.from({ length: 10 }, (_, digit) => [String(digit), String(digit)])),
  label2id: Object.fromEntries(Array.from({ length: 10 }, (_, digit) => [String(digit), digit])),
}

const imageSettings = {
  image_processor_type: 'ViTImageProcessor',
  do_resize: true,
  size: { height: 28, width: 28 },
  resample: 2,
  do_rescale: true,
  rescale_factor: 1 / 255,
  do_normalize: true,
  image_mean: [0.5],
  image_std: [0.5],
}

/** Pictures in folders named after their digit. */
function pictures(samples, folder) {
  return Object.fromEntries(samples.map(({ image, label }, i) => [`${folder}/${label}/${String(i).padStart(4, '0')}.png`, greyPng(image)]))
}

/** Trains the reader of digits into a folder and measures it. */
export async function digits(run, folder) {
  const random = new Random(seed)
  const splits = mnistSplits()
  const graph = freshGraphs(architectureOf(config), config, random).get('model')
  const objective = moved(imageClassification({ graph, config, imageSettings }))
  await run.train('training', graph, objective, splits.train, {
    steps: Math.floor(splits.train.length / batchSize) * epochs,
    batchSize,
    seed,
    learningRate: 1.5e-3,
    schedule: schedule('cosine', { warmup: 0.05 }),
    weightDecay: 0.05,
    average: 0.998,
  })
  const size = await writeModel(folder, config, graph, {
    'preprocessor_config.json': imageSettings,
    ...pictures(chosen(splits.dev, sampleCount, random.stream('samples')), 'samples'),
  })
  addDocuments(run.folder, { ...pictures(splits.dev, 'dev'), ...pictures(splits.test, 'test') })
  const measured = async (where) => (await evaluate(folder, `image-classification=${where}`)).metrics
  return {
    task: 'image-classification',
    metric: 'accuracy',
    better: 'higher',
    tolerance: 0.8,
    test: await measured(run.path('test')),
    dev: await measured(run.path('dev')),
    samples: { file: 'samples', count: sampleCount, ...(await measured(`${folder}/samples`)) },
    baselines: { majority: { accuracy: majorityShare(splits.test.map(({ label }) => label)) } },
    counts: Object.fromEntries(Object.entries(splits).map(([name, { length: count }]) => [name, count])),
    ...size,
    seed,
  }
}
