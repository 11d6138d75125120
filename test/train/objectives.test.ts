import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { openFile } from '#platform'
import { Random } from '../../src/base/random.js'
import { readSafetensors } from '../../src/formats/index.js'
import type { Config } from '../../src/ir/model.js'
import { withClasses } from '../../src/models/index.js'
import { numbersOf } from '../../src/numbers/dtype.js'
import type { Objective } from '../../src/train/index.js'
import {
  causalLanguageModel,
  classification,
  classNames,
  coSent,
  cosineRegression,
  imageClassification,
  maskedLanguageModel,
  multipleNegativesRanking,
  packWindows,
  tokenClassification,
  weightedSum,
} from '../../src/train/objectives/index.js'
import { byteTokenizer } from '../pipelines/fakes.js'
import { modelOf, smallModel, tinyBertModel, tinyLlamaModel } from '../support/checkpoints.js'
import { completed, goldens, reference } from '../support/goldens.js'
import { int64, lossAndGradients, lossOf, maskTokenizer } from './objective-models.js'

const tokenizer = maskTokenizer()
const random = () => new Random(5, 'batch')
const bert = (className: string, config: Config = {}) =>
  tinyBertModel(1, { inner: 8, vocabulary: 24 }, { architectures: [className], ...config })
const numbers = (array: Parameters<typeof numbersOf>[0]) => [...numbersOf(array)]

/** Gradients must reach all parameters but those of which softmax knows nothing (key biases), up to rounding. */
async function expectGradientsEverywhere<Sample>(
  model: { graph: Parameters<typeof lossOf>[0] },
  objective: Objective<Sample>,
  samples: readonly Sample[],
): Promise<number> {
  const { loss, gradients } = await lossAndGradients(model.graph, objective, await objective.batch(samples, random()))
  expect(gradients.size).toBeGreaterThan(10)
  for (const [name, norm] of gradients) if (!/key\.bias$/.test(name)) expect(norm, name).toBeGreaterThan(1e-7)
  return loss
}

describe('classification', () => {
  const names = { id2label: { 0: 'ham', 1: 'spam', 2: 'eggs' }, num_labels: 3 }
  const model = bert('BertForSequenceClassification', names)
  const options = { tokenizer, graph: model.graph, config: model.config }
  const samples = [
    { texts: ['a red play'], label: 'spam' },
    { texts: ['b', 'sing in'], label: 0 },
    { texts: ['green blue c d'], label: 'EGGS' },
  ]

  it('feeds texts, pairs and the indexes of labels', async () => {
    const feeds = await classification(options).batch(samples, random())
    expect(numbers(feeds['labels'])).toEqual([1, 0, 2])
    expect(feeds['input_ids'].shape).toEqual([3, 6])
    expect(numbers(feeds['token_type_ids']).slice(6, 12)).toEqual([0, 0, 0, 1, 1, 1])
    expect(numbers(feeds['attention_mask']).slice(0, 6)).toEqual([1, 1, 1, 1, 1, 0])
  })

  it('reaches all parameters, and smoothing changes the loss', async () => {
    const loss = await expectGradientsEverywhere(model, classification(options), samples)
    const smoothed = classification({ ...options, labelSmoothing: 0.2 })
    expect(await lossOf(model.graph, smoothed, await smoothed.batch(samples, random()))).not.toBeCloseTo(loss, 3)
  })

  it('refuses labels that the model does not have, one class, models without classes and too many tokens', async () => {
    const objective = classification(options)
    await expect(objective.batch([{ texts: ['a'], label: 'bacon' }], random())).rejects.toThrow(/"bacon" is none of the model's/)
    await expect(objective.batch([{ texts: ['a'], label: 3 }], random())).rejects.toThrow(/"3" is none/)
    expect(() => objective.check!([samples[0], samples[0]])).toThrow(/all 2 labels are spam/)
    expect(() => objective.check!([])).toThrow(/no labels/)
    expect(() => classification({ ...options, graph: bert('BertModel').graph })).toThrow(/no output logits of rank 2/)
    expect(() => classification({ ...options, maxLength: 17 })).toThrow(/17 tokens is not between 1 and the model's limit of 16/)
  })

  it('takes the classes of the data where the model has none yet', async () => {
    expect(classNames(samples.slice(0, 1))).toEqual(['spam'])
    expect(classNames([{ label: 10 }, { label: 9 }, { label: 10 }])).toEqual(['9', '10'])
    expect(() => classNames([{ label: 'a' }, {}])).toThrow(/sample 1 has no label/)
    const config = withClasses({}, ['ham', 'spam', 'tofu'])
    const feeds = await classification({ ...options, config }).batch([{ texts: ['a'], label: 'tofu' }], random())
    expect(numbers(feeds['labels'])).toEqual([2])
  })
})

it.each(goldens().filter(({ folder }) => fs.existsSync(path.join(folder, 'training.safetensors')) && folder.endsWith('-cls')))(
  'the loss and the gradients of $name are those of the reference library',
  async ({ folder, ...golden }) => {
    const tensorsOf = async (file: string) => (await readSafetensors(await openFile(path.join(folder, file)))).tensors
    const config = JSON.parse(fs.readFileSync(path.join(folder, 'config.json'), 'utf8')) as Config
    const { graph } = modelOf({ config, tensors: await tensorsOf('model.safetensors') })
    const { inputs } = await reference({ folder, ...golden })
    const training = await tensorsOf('training.safetensors')
    const objective = classification({ tokenizer, graph, config })
    const feeds = { ...completed(graph, inputs), labels: await training.get('labels')!.array() }
    const { loss, gradients } = await lossAndGradients(graph, objective, feeds)
    expect(loss).toBeCloseTo(numbersOf(await training.get('losses')!.array())[0], 5)
    const norm = async (name: string) => Math.hypot(...numbersOf(await training.get(`grad.${name}`)!.array()))
    for (const [name, found] of gradients) if (training.has(`grad.${name}`)) expect(found).toBeCloseTo(await norm(name), 4)
    expect([...gradients.keys()].filter((name) => training.has(`grad.${name}`)).length).toBeGreaterThan(10)
  },
)

describe('token classification', () => {
  const model = bert('BertForTokenClassification', { id2label: { 0: 'O', 1: 'B-PER', 2: 'I-PER' }, num_labels: 3 })
  const objective = tokenClassification({ tokenizer, graph: model.graph, config: model.config })
  const samples = [
    { texts: ['ada playing in red'], label: 'B-PER I-PER O O' },
    { texts: ['singers'], label: 'O' },
  ]

  it('labels the first token of each word and nothing else', async () => {
    const feeds = await objective.batch(samples, random())
    // [CLS] ada play ##ing in red [SEP]; [CLS] sing ##er ##s [SEP]
    const none = -100
    expect(numbers(feeds['labels'])).toEqual([none, 1, 2, none, 0, 0, none, none, 0, none, none, none, none, none])
    await expectGradientsEverywhere(model, objective, samples)
  })

  it('refuses words without labels', async () => {
    await expect(objective.batch([{ texts: ['a b'], label: 'O' }], random())).rejects.toThrow(/has 2 words and 1 labels/)
    expect(() => objective.check!([{ texts: ['a b'], label: 'O O' }])).toThrow(/all 2 labels are O/)
  })
})

describe('masked language model', () => {
  const model = bert('BertForMaskedLM')
  const options = { tokenizer, graph: model.graph, config: model.config }
  const samples = [{ texts: ['a red play in green blue c d'] }, { texts: ['b', 'singing'] }]

  it('compares at hidden tokens alone', async () => {
    const objective = maskedLanguageModel(options)
    const feeds = await objective.batch(samples, random())
    const labels = numbers(feeds['labels'])
    expect(labels.filter((label) => label !== -100)).toHaveLength(2)
    const plain = tokenizer.encode(['a red play in green blue c d', ['b', 'singing']])
    for (const [i, label] of labels.entries()) if (label !== -100) expect(label).toBe(Number(plain.input_ids.data[i]))
    await expectGradientsEverywhere(model, objective, samples)
  })

  it('gives the same batch for the same stream, another for another', async () => {
    const objective = maskedLanguageModel({ ...options, unit: 'word' })
    const ids = async (seed: number) => numbers((await objective.batch(samples, new Random(seed)))['labels']).join()
    expect(await ids(1)).toBe(await ids(1))
    expect(new Set(await Promise.all([1, 2, 3, 4, 5].map(ids))).size).toBeGreaterThan(1)
  })

  it('never hides special tokens, those in the text included', async () => {
    const objective = maskedLanguageModel({ ...options, rate: 0.9 })
    const feeds = await objective.batch([{ texts: ['a [SEP] b'] }], random())
    expect([0, 2, 4].map((i) => numbers(feeds['labels'])[i])).toEqual([-100, -100, -100])
    await expect(objective.batch([{ texts: ['[SEP]'] }], random())).rejects.toThrow(/no text of the batch/)
  })

  it('refuses a tokenizer without a mask token', () => {
    expect(() => maskedLanguageModel({ ...options, maskToken: '<hide>' })).toThrow(/no token <hide>/)
  })
})

describe('causal language model', () => {
  const bytes = byteTokenizer()
  const model = tinyLlamaModel(1, { vocabulary: 257 })
  const options = { tokenizer: bytes, graph: model.graph, config: model.config }

  it('packs texts into windows without padding', () => {
    const windows = packWindows([{ texts: ['abcde'] }, { texts: ['fg'] }], { tokenizer: bytes, length: 4 })
    const [a, end] = ['a'.charCodeAt(0), 256]
    expect(windows.map(({ ids }) => [...ids])).toEqual([
      [a, a + 1, a + 2, a + 3],
      [a + 4, end, a + 5, a + 6],
    ])
    expect(packWindows([{ texts: ['ab'] }], { tokenizer: bytes, length: 8 })).toEqual([{ ids: [a, a + 1, end] }])
    expect(() => packWindows([{ texts: [''] }], { tokenizer: bytes, length: 8 })).toThrow(/1 tokens and at least 2/)
  })

  it('reaches all parameters, with an empty cache; padding does not count', async () => {
    const objective = causalLanguageModel(options)
    const windows = [{ ids: [1, 2, 3, 4, 5] }, { ids: [7, 8] }]
    const together = await expectGradientsEverywhere(model, objective, windows)
    const alone = await Promise.all(
      windows.map(async (window) => lossOf(model.graph, objective, await objective.batch([window], random()))),
    )
    expect(together).toBeCloseTo((4 * alone[0] + alone[1]) / 5, 4)
  })

  it('refuses windows that the model does not read', () => {
    const ids = Array.from({ length: 33 }, () => 1)
    expect(() => causalLanguageModel(options).check!([{ ids }])).toThrow(/33 tokens is longer than the model's limit of 32/)
  })
})

describe('sentence pairs', () => {
  const model = bert('BertModel')
  const options = { tokenizer, graph: model.graph, config: model.config }
  const samples = [
    { texts: ['a red play', 'b'], label: 5 },
    { texts: ['sing in', 'green'], label: 2 },
    { texts: ['c d', 'blue run in a'], label: 0 },
  ]
  const all = {
    'cosine regression': cosineRegression({ ...options, range: [0, 5] }),
    ranking: multipleNegativesRanking({ ...options, symmetric: true }),
    CoSENT: coSent(options),
  }

  it.each(Object.entries(all))('%s reaches all parameters', async (_, objective) => {
    const loss = await expectGradientsEverywhere(model, objective, samples)
    expect(loss).toBeGreaterThan(0)
  })

  it('puts the first texts before the second ones', async () => {
    const feeds = await all.CoSENT.batch(samples, random())
    expect(feeds['input_ids'].shape).toEqual([6, 6])
    expect(numbers(feeds['input_ids']).slice(18, 21)).toEqual([2, tokenizer.idOf('b'), 3])
    expect(numbers(feeds['labels'])).toEqual([5, 2, 0])
  })

  it('does not depend on how far texts are padded', async () => {
    const feeds = await all.CoSENT.batch(samples, random())
    const wider = Object.fromEntries(
      Object.entries(feeds).map(([name, array]) => {
        if (name === 'labels') return [name, array]
        const rows = Array.from({ length: 6 }, (_, row) => [...numbers(array).slice(row * 6, row * 6 + 6), 0, 0, 0])
        return [name, int64([6, 9], rows.flat())]
      }),
    )
    expect(await lossOf(model.graph, all.CoSENT, wider)).toBeCloseTo(await lossOf(model.graph, all.CoSENT, feeds), 4)
  })

  it('refuses what is no pair, no number, out of range or all the same', async () => {
    expect(() => all.CoSENT.check!([{ texts: ['a'], label: 1 }])).toThrow(/"a" is no pair/)
    expect(() => all.CoSENT.check!([{ texts: ['a', 'b'], label: 'x' }])).toThrow(/the label "x" where a number is expected/)
    expect(() => cosineRegression(options).check!(samples)).toThrow(/label 5 is not between 0 and 1/)
    expect(() => all.CoSENT.check!([samples[0], samples[0]])).toThrow(/all 2 pairs have the label 5/)
    await expect(all.ranking.batch(samples.slice(0, 1), random())).rejects.toThrow(/one pair/)
  })
})

describe('image classification', () => {
  const model = smallModel('vit', 'ViTForImageClassification', { id2label: { 0: 'zero', 1: 'one' }, num_labels: 2 })
  const image = (fill: number) => ({ width: 12, height: 12, channels: 1 as const, data: new Uint8Array(144).fill(fill).fill(200, 20, 60) })
  const samples = [
    { image: image(9), label: 'one' },
    { image: image(90), label: 0 },
  ]

  it('reaches all parameters', async () => {
    const objective = imageClassification({ graph: model.graph, config: model.config })
    const feeds = await objective.batch(samples, random())
    expect(feeds['pixel_values'].shape).toEqual([2, 1, 12, 12])
    expect(numbers(feeds['labels'])).toEqual([1, 0])
    await expectGradientsEverywhere(model, objective, samples)
    expect(() => imageClassification({ graph: bert('BertForSequenceClassification').graph, config: {} })).toThrow(/no images/)
  })
})

describe('weighted sums', () => {
  const model = bert('BertForMaskedLM')
  const options = { tokenizer, graph: model.graph, config: model.config }
  const samples = [{ texts: ['a red play in green blue c d'] }, { texts: ['b c'] }]

  it('are the sum of the losses on the same batch', async () => {
    const single = maskedLanguageModel(options)
    const sum = weightedSum([
      { objective: single, weight: 0.25 },
      { objective: maskedLanguageModel(options), weight: 2 },
    ])
    const feeds = await sum.batch(samples, random())
    expect(await lossOf(model.graph, sum, feeds)).toBeCloseTo(2.25 * (await lossOf(model.graph, single, feeds)), 4)
  })

  it('refuse objectives that want different things under one name, and nothing at all', async () => {
    const parts = [{}, { rate: 0.8 }].map((more) => ({ objective: maskedLanguageModel({ ...options, ...more }), weight: 1 }))
    await expect(weightedSum(parts).batch(samples, random())).rejects.toThrow(/feeds another/)
    expect(() => weightedSum([])).toThrow(/at least one/)
  })
})
