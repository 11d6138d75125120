import { expect, it } from 'vitest'
import type { Graph } from '../../src/ir/graph.js'
import type { Config, Model } from '../../src/ir/model.js'
import { adamW, type Objective, schedule, train } from '../../src/train/index.js'
import {
  causalLanguageModel,
  classification,
  coSent,
  cosineRegression,
  distillation,
  fromAttention,
  fromHiddenStates,
  fromLogits,
  fromRelations,
  imageClassification,
  maskedLanguageModel,
  multipleNegativesRanking,
  selfDistillation,
  type TermFactory,
  textBatches,
  tokenClassification,
} from '../../src/train/objectives/index.js'
import { byteTokenizer } from '../pipelines/fakes.js'
import { smallModel, tinyBertModel, tinyLlamaModel } from '../support/checkpoints.js'
import { maskTokenizer } from './objective-models.js'

const tokenizer = maskTokenizer()
const texts = ['a red play', 'sing in green', 'blue c d', 'run b']
const bert = (className: string, seed = 1, config: Config = {}) =>
  tinyBertModel(seed, { vocabulary: 24 }, { architectures: [className], ...config })
const textModel = ({ graph, config }: Model) => ({ tokenizer, graph, config })

/** An objective on a model, and samples; made anew for each run. */
interface Run {
  readonly graph: Graph
  losses(steps: number, dropout?: number): Promise<number[]>
}

function running<Sample>({ graph }: Model, objective: Objective<Sample>, samples: readonly Sample[]): Run {
  const options = {
    batchSize: samples.length,
    learningRate: 5e-3,
    schedule: schedule('constant'),
    optimizer: adamW(),
    seed: 1,
    threads: 1,
  }
  return {
    graph,
    losses: async (steps, dropout) =>
      (await train(graph, objective, samples, { ...options, steps, dropout })).steps.map(({ loss }) => loss),
  }
}

function distilled(term: TermFactory, className = 'BertModel'): Run {
  const student = bert(className)
  const teacher = tinyBertModel(2, { vocabulary: 24, hidden: term === wide ? 24 : 16 }, { architectures: [className] })
  const inputs = textBatches(textModel(student))
  const objective = distillation({ student: student.graph, teacher: teacher.graph, inputs, terms: [{ term }], threads: 1 })
  return running(
    student,
    objective,
    texts.map((text) => ({ texts: [text] })),
  )
}

const wide = fromHiddenStates()

const runs: Record<string, () => Run> = {
  classification() {
    const model = bert('BertForSequenceClassification', 1, { num_labels: 2 })
    const samples = texts.map((text, i) => ({ texts: [text], label: i % 2 }))
    return running(model, classification({ ...textModel(model), labelSmoothing: 0.05 }), samples)
  },
  'token classification'() {
    const model = bert('BertForTokenClassification', 1, { num_labels: 2 })
    const samples = [
      { texts: ['ada playing in'], label: '1 0 0' },
      { texts: ['red c'], label: '0 1' },
    ]
    return running(model, tokenClassification(textModel(model)), samples)
  },
  'masked language model'() {
    const model = bert('BertForMaskedLM')
    const samples = Array.from({ length: 32 }, () => ({ texts: ['a red play in green blue c d'] }))
    return running(model, maskedLanguageModel({ ...textModel(model), unit: 'span' }), samples)
  },
  'causal language model'() {
    const model = tinyLlamaModel(1, { vocabulary: 257 })
    return running(model, causalLanguageModel({ ...textModel(model), tokenizer: byteTokenizer() }), [
      { ids: [1, 2, 3, 1, 2, 3] },
      { ids: [3, 1, 2] },
    ])
  },
  'cosine regression'() {
    const model = bert('BertModel')
    return running(model, cosineRegression({ ...textModel(model), range: [0, 5] }), pairs)
  },
  ranking() {
    const model = bert('BertModel')
    return running(model, multipleNegativesRanking({ ...textModel(model), symmetric: true }), pairs)
  },
  CoSENT() {
    const model = bert('BertModel')
    return running(model, coSent(textModel(model)), pairs)
  },
  'image classification'() {
    const model = smallModel('vit', 'ViTForImageClassification', { num_labels: 2 })
    const image = (fill: number) => ({ width: 12, height: 12, channels: 1 as const, data: new Uint8Array(144).fill(fill, 20, 60) })
    const samples = [0, 1].map((label) => ({ image: image(250 * label), label }))
    return running(model, imageClassification(model), samples)
  },
  'distillation from logits': () => distilled(fromLogits({ temperature: 2 }), 'BertForMaskedLM'),
  'distillation from wider hidden states': () => distilled(wide),
  'distillation from relations': () => distilled(fromRelations({ heads: 4 })),
  'distillation from attention maps': () => distilled(fromAttention()),
  'self-distillation'() {
    const [model, teacher] = [1, 2].map((seed) => bert('BertForMaskedLM', seed))
    const objective = selfDistillation({ ...textModel(model), teacher: teacher.graph, threads: 1 })
    const samples = Array.from({ length: 32 }, () => ({ texts: ['a red play in green blue c d'] }))
    return running(model, objective, samples)
  },
}

const pairs = [
  { texts: ['a red play', 'red plays'], label: 5 },
  { texts: ['sing in green', 'blue c'], label: 1 },
  { texts: ['run b', 'c d in'], label: 3 },
]

it.each(Object.entries(runs))('%s is learned', async (_, begin) => {
  const losses = await begin().losses(12)
  expect(losses.at(-1)).toBeLessThan(0.9 * losses[0])
})

it.each(['distillation from wider hidden states', 'distillation from relations', 'distillation from attention maps'])(
  '%s finds its values in a graph with dropout',
  async (name) => {
    const [plain, dropped] = [await runs[name]().losses(1), await runs[name]().losses(1, 0.2)]
    expect(dropped[0]).not.toBe(plain[0])
    expect(dropped[0]).toBeGreaterThan(0)
  },
)
