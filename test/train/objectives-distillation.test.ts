import { afterEach, describe, expect, it } from 'vitest'
import { Random } from '../../src/base/random.js'
import type { Feeds } from '../../src/engine/session.js'
import type { Graph } from '../../src/ir/graph.js'
import type { Config } from '../../src/ir/model.js'
import { ArrayTensor } from '../../src/ir/tensor.js'
import { numbersOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import type { Objective } from '../../src/train/index.js'
import {
  blocksOf,
  causalLanguageModel,
  classification,
  distillation,
  fromAttention,
  fromHiddenStates,
  fromLogits,
  fromRelations,
  maskedLanguageModel,
  selfDistillation,
  type TermFactory,
  textBatches,
  uniformLayers,
  weightedSum,
} from '../../src/train/objectives/index.js'
import { byteTokenizer } from '../pipelines/fakes.js'
import { type BertSizes, smallModel, tinyBertModel, tinyLlamaModel } from '../support/checkpoints.js'
import { average, lossAndGradients, lossOf, maskTokenizer, rowsOf, softmaxOf } from './objective-models.js'

const tokenizer = maskTokenizer()
const samples = [
  { texts: ['a red play in green blue c d'], label: 0 },
  { texts: ['singing'], label: 1 },
  { texts: ['b c'], label: 1 },
]
const bert = (seed: number, className: string, sizes: Partial<BertSizes> = {}, config: Config = {}) =>
  tinyBertModel(seed, { inner: 8, vocabulary: 24, ...sizes }, { architectures: [className], ...config })

const open: Objective<never>[] = []
afterEach(async () => {
  for (const objective of open.splice(0)) await objective.dispose?.()
})

function learning(student: Graph, teacher: Graph, ...terms: TermFactory[]) {
  const inputs = textBatches({ tokenizer, graph: student, config: {} })
  const objective = distillation({ teacher, student, inputs, threads: 1, terms: terms.map((term) => ({ term })) })
  open.push(objective)
  return objective
}

async function measured(student: Graph, teacher: Graph, ...terms: TermFactory[]) {
  const objective = learning(student, teacher, ...terms)
  return lossAndGradients(student, objective, await objective.batch(samples, new Random(1)))
}

/** Values of a graph by name for the feeds of a batch. */
async function valuesOf(graph: Graph, names: readonly string[], feeds: Feeds) {
  const copy = graph.clone()
  copy.outputs.splice(0, copy.outputs.length, ...names.map((name) => copy.value(name)!))
  copy.prune()
  return evaluateGraph(copy, feeds)
}

const kinds: Record<string, [className: string, TermFactory]> = {
  logits: ['BertForSequenceClassification', fromLogits({ temperature: 2 })],
  'logits of tokens': ['BertForMaskedLM', fromLogits({ temperature: 3 })],
  'hidden states': ['BertModel', fromHiddenStates()],
  'the first hidden state': ['BertModel', fromHiddenStates({ tokens: 'first', reduction: 'sum' })],
  'relations of version 2': ['BertModel', fromRelations({ heads: 4 })],
  'relations of version 2 with Q-K': ['BertModel', fromRelations({ heads: 8, pairs: [['q', 'k']], layers: [[1, 1]] })],
  'relations of version 1': ['BertModel', fromRelations({ version: 1 })],
  'attention maps': ['BertModel', fromAttention()],
}

describe.each(Object.entries(kinds))('distillation from %s', (kind, [className, term]) => {
  it('is zero for the same model, and so are its gradients', async () => {
    const { loss, gradients } = await measured(bert(1, className).graph, bert(1, className).graph, term)
    expect(Math.abs(loss)).toBeLessThan(1e-6)
    for (const norm of gradients.values()) expect(norm).toBeLessThan(1e-4)
  })

  it('is positive for another model and reaches what lies below it', async () => {
    const { loss, gradients } = await measured(bert(1, className).graph, bert(2, className).graph, term)
    expect(loss).toBeGreaterThan(1e-5)
    for (const [name, norm] of gradients) if (!/key\.bias$/.test(name)) expect(norm, name).toBeGreaterThan(1e-8)
  })

  it('counts a text the same however far it is padded', async () => {
    const [student, teacher] = [bert(1, className).graph, bert(2, className).graph]
    const objective = learning(student, teacher, term)
    const loss = async (texts: readonly (typeof samples)[number][]) =>
      lossOf(student, objective, await objective.batch(texts, new Random(1)))
    const each = await Promise.all(samples.map((sample) => loss([sample])))
    const lengths = [10, 4, 4]
    const byToken = kind === 'logits of tokens' || kind === 'hidden states'
    const expected = byToken ? each.reduce((sum, x, i) => sum + x * lengths[i], 0) / 18 : average(each)
    expect(await loss(samples)).toBeCloseTo(expected, 4)
  })
})

describe('logits', () => {
  it('give T^2 KL of the softmaxes at that temperature', async () => {
    const [student, teacher] = [1, 2].map((seed) => bert(seed, 'BertForSequenceClassification').graph)
    const objective = learning(student, teacher, fromLogits({ temperature: 2 }))
    const feeds = await objective.batch(samples, new Random(1))
    const [found, wanted] = await Promise.all(
      [student, teacher].map(async (graph) => rowsOf((await valuesOf(graph, ['logits'], feeds))['logits'])),
    )
    const rows = wanted.map((row, i) => {
      const [p, q] = [row, found[i]].map((logits) => softmaxOf(logits.map((x) => x / 2)))
      return p.reduce((sum, each, c) => sum + each * Math.log(each / q[c]), 0)
    })
    expect(await lossOf(student, objective, feeds)).toBeCloseTo(4 * average(rows), 5)
  })

  it('of other classes are refused', () => {
    const [two, three] = [2, 3].map((labels) => bert(1, 'BertForSequenceClassification', {}, { num_labels: labels }).graph)
    expect(() => learning(two, three, fromLogits())).toThrow(/student's logits are \[batch_size, 2\] and the teacher's \[batch_size, 3\]/)
    expect(() => learning(bert(1, 'BertModel').graph, two, fromLogits())).toThrow(/student has no output logits/)
  })
})

describe('hidden states', () => {
  it('are mapped evenly, the last to the last', () => {
    expect(uniformLayers(3, 12)).toEqual([
      [0, 3],
      [1, 7],
      [2, 11],
    ])
    expect(uniformLayers(2, 2).at(-1)).toEqual([1, 1])
  })

  it('of the last block are those that the model gives', () => {
    const { graph } = bert(1, 'BertModel')
    expect(blocksOf(graph).at(-1)!.hidden().name).toBe('last_hidden_state')
  })

  it('go through a learned projection where widths differ', async () => {
    const student = bert(1, 'BertModel', { hidden: 8, layers: 1 }).graph
    const teacher = bert(2, 'BertModel').graph
    const objective = learning(student, teacher, fromHiddenStates())
    const { loss, gradients } = await measured(student, teacher, fromHiddenStates())
    expect(objective.parameters).toHaveLength(1)
    expect(gradients.get(objective.parameters![0])).toBeGreaterThan(1e-3)
    expect(loss).toBeGreaterThan(0)
  })

  it('of layers that are not there are refused', () => {
    const { graph } = bert(1, 'BertModel')
    expect(() => learning(graph, graph, fromHiddenStates({ layers: [[0, 5]] }))).toThrow(/teacher has no layer 5/)
    expect(() => learning(graph, graph, fromHiddenStates({ layers: [] }))).toThrow(/map of layers is empty/)
  })
})

/** Turns the columns of weights and biases [.., width] within heads of two: a rotation by an angle. */
async function rotate(graph: Graph, modules: RegExp, angle: number): Promise<void> {
  const [c, s] = [Math.cos(angle), Math.sin(angle)]
  for (const constant of graph.constants.values()) {
    if (!modules.test(constant.name)) continue
    const { shape } = constant.tensor!
    const rows = rowsOf({ dtype: 'float32', shape, data: await constant.tensor!.read() }).map((row) =>
      row.flatMap((x, i) => (i % 2 ? [] : [c * x - s * row[i + 1], s * x + c * row[i + 1]])),
    )
    graph.setTensor(constant, new ArrayTensor('float32', shape, Float32Array.from(rows.flat())))
  }
}

describe('MiniLM relations', () => {
  const last = (part: string) => new RegExp(`layer\\.1\\.attention\\.self\\.${part}\\.`)

  it('do not change when heads are rotated, though weights do', async () => {
    const [student, teacher] = [1, 1].map((seed) => bert(seed, 'BertModel').graph)
    for (const [i, part] of ['query', 'key', 'value'].entries()) await rotate(student, last(part), 0.4 + i)
    expect(Math.abs((await measured(student, teacher, fromRelations({ heads: 8 }))).loss)).toBeLessThan(1e-5)
    expect((await measured(student, teacher, fromAttention({ layers: [[1, 1]] }))).loss).toBeGreaterThan(1e-3)
  })

  it('compare models of any widths and head counts, and leave what lies above untouched', async () => {
    const student = bert(1, 'BertModel', { hidden: 12, heads: 3, layers: 1 }).graph
    const teacher = bert(2, 'BertModel', { hidden: 16, heads: 2 }).graph
    const { loss, gradients } = await measured(student, teacher, fromRelations({ heads: 4 }))
    expect(loss).toBeGreaterThan(1e-5)
    const trained = [...gradients.keys()]
    expect(trained.some((name) => name.includes('attention.self.value'))).toBe(true)
    expect(trained.filter((name) => /output|intermediate|pooler/.test(name))).toEqual([])
  })

  it('refuse heads that do not divide the widths, and version 1 other head counts', () => {
    const student = bert(1, 'BertModel', { hidden: 12, heads: 3 }).graph
    const teacher = bert(2, 'BertModel').graph
    expect(() => learning(student, teacher, fromRelations())).toThrow(/3 relation heads do not divide the width 16 of the teacher's q/)
    expect(() => learning(student, teacher, fromRelations({ version: 1 }))).toThrow(/student has 3 heads and the teacher 2/)
    expect(() => learning(student, teacher, fromAttention())).toThrow(/student has 3 heads and the teacher 2/)
    expect(() => fromRelations({ version: 1, heads: 4 })).toThrow(/version 1/)
  })

  it('of decoders with shared heads, rotary positions and a cache see what attention sees', async () => {
    const bytes = byteTokenizer()
    const [student, teacher] = [1, 2].map((seed) => tinyLlamaModel(seed, { vocabulary: 257 }))
    const inputs = causalLanguageModel({ tokenizer: bytes, graph: student.graph, config: student.config })
    const losses = async (from: typeof teacher, length: number, term: TermFactory) => {
      const objective = distillation({ student: student.graph, teacher: from.graph, inputs, terms: [{ term }], threads: 1 })
      open.push(objective)
      const ids = Array.from({ length }, (_, i) => 3 + i)
      return lossOf(student.graph, objective, await objective.batch([{ ids }], new Random(1)))
    }
    for (const term of [fromRelations({ heads: 2 }), fromRelations({ version: 1 }), fromAttention()]) {
      expect(Math.abs(await losses(student, 6, term))).toBeLessThan(1e-6)
      expect(await losses(teacher, 6, term)).toBeGreaterThan(1e-5)
      // A single token sees itself alone: all relations are 1.
      expect(Math.abs(await losses(teacher, 1, term))).toBeLessThan(1e-6)
    }
  })
})

it('attention maps are the softmax that the attention computes', async () => {
  const [student, teacher] = [1, 2].map((seed) => bert(seed, 'BertModel', { layers: 1 }).graph)
  const objective = learning(student, teacher, fromAttention())
  const feeds = await objective.batch(samples.slice(0, 1), new Random(1))
  const maps = async (graph: Graph) => {
    const { query, key, heads } = blocksOf(graph)[0].attention()
    const values = await valuesOf(graph, [query.name, key.name], feeds)
    const [q, k] = [query, key].map(({ name }) => rowsOf(values[name]))
    const size = q[0].length / heads
    return Array.from({ length: heads }, (_, h) =>
      q.map((row) =>
        softmaxOf(
          k.map((other) => row.slice(h * size, (h + 1) * size).reduce((sum, x, i) => sum + x * other[h * size + i], 0) / Math.sqrt(size)),
        ),
      ),
    )
  }
  const [found, wanted] = await Promise.all([maps(student), maps(teacher)])
  const rows = wanted.flatMap((head, h) => head.map((row, t) => row.reduce((sum, p, j) => sum + p * Math.log(p / found[h][t][j]), 0)))
  expect(await lossOf(student, objective, feeds)).toBeCloseTo(average(rows), 5)
})

it('a teacher of another architecture reads the same text, also from images', async () => {
  const [student, teacher] = [1, 2].map((seed) => smallModel('vit', 'ViTForImageClassification', { num_labels: 2 }, seed).graph)
  const pixels = { dtype: 'float32' as const, shape: [2, 1, 12, 12], data: new Random(3).normals(288) }
  const inputs = { batch: async () => ({ pixel_values: pixels }) }
  const objective = distillation({ student, teacher, inputs, terms: [{ term: fromLogits() }, { term: fromRelations() }], threads: 1 })
  open.push(objective)
  expect(await lossOf(student, objective, await objective.batch([0, 1], new Random(1)))).toBeGreaterThan(0)
  const distil = smallModel('distilbert', 'DistilBertForSequenceClassification', { num_labels: 2 })
  const pairs = [{ texts: ['a red', 'play'] as const }, { texts: ['b', 'c'] as const }]
  const other = learning(distil.graph, bert(2, 'BertForSequenceClassification').graph, fromLogits())
  const feeds = await other.batch(pairs, new Random(1))
  expect(distil.graph.inputs.map(({ name }) => name)).not.toContain('token_type_ids')
  expect([...numbersOf(feeds['token_type_ids'])].some((type) => type === 1)).toBe(true)
})

it('teacher and labels together are a weighted sum on one batch', async () => {
  const [student, teacher] = [1, 2].map((seed) => bert(seed, 'BertForSequenceClassification'))
  const hard = classification({ tokenizer, graph: student.graph, config: student.config })
  const soft = distillation({ student: student.graph, teacher: teacher.graph, inputs: hard, terms: [{ term: fromLogits() }], threads: 1 })
  const both = weightedSum([
    { objective: hard, weight: 0.3 },
    { objective: soft, weight: 0.7 },
  ])
  open.push(both)
  const feeds = await both.batch(samples, new Random(1))
  const [a, b, sum] = await Promise.all([hard, soft, both].map((objective) => lossOf(student.graph, objective, feeds)))
  expect(sum).toBeCloseTo(0.3 * a + 0.7 * b, 5)
})

describe('self-distillation', () => {
  const [begin, later] = [1, 2].map((seed) => bert(seed, 'BertForMaskedLM'))
  const options = { tokenizer, graph: begin.graph, config: begin.config, threads: 1 }

  it('adds the squared distance of the first token on the text without masks', async () => {
    const objective = selfDistillation({ ...options, teacher: later.graph, weight: 0.5 })
    open.push(objective)
    const feeds = await objective.batch(samples, new Random(1))
    const plain = await textBatches(options).batch(samples, new Random(1))
    const [own, other] = await Promise.all(
      [begin, later].map(async ({ graph }) => {
        const hidden = blocksOf(graph).at(-1)!.hidden().name
        const rows = rowsOf((await valuesOf(graph, [hidden], plain))[hidden])
        return samples.map((_, text) => rows[(text * rows.length) / samples.length])
      }),
    )
    const distances = own.map((row, i) => row.reduce((sum, x, j) => sum + (x - other[i][j]) ** 2, 0))
    const masked = maskedLanguageModel(options)
    const alone = await lossOf(begin.graph, masked, await masked.batch(samples, new Random(1)))
    expect(await lossOf(begin.graph, objective, feeds)).toBeCloseTo(alone + 0.5 * average(distances), 3)
  })

  it('is the masked language model alone where the teacher is the same', async () => {
    const objective = selfDistillation({ ...options, teacher: begin.graph })
    open.push(objective)
    const masked = maskedLanguageModel(options)
    const [together, alone] = await Promise.all(
      [objective, masked].map(async (each) => lossAndGradients(begin.graph, each, await each.batch(samples, new Random(2)))),
    )
    expect(together.loss).toBeCloseTo(alone.loss, 5)
    for (const [name, norm] of alone.gradients) expect(together.gradients.get(name)).toBeCloseTo(norm, 4)
  })
})
