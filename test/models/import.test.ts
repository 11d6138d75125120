import { describe, expect, it } from 'vitest'
import { Random } from '../../src/base/random.js'
import { LazyTensor, type Tensor } from '../../src/ir/tensor.js'
import { architectures, buildGraphs, ConfigReader } from '../../src/models/index.js'
import { ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { modelOf, type TinyCheckpoint, tinyBert, tinyLlama } from '../support/checkpoints.js'
import { completed } from '../support/goldens.js'
import { distanceOf } from '../support/graphs.js'

const bert = (config: Record<string, unknown> = {}) => tinyBert(new Random(1), {}, config)
const llama = (config: Record<string, unknown> = {}) => tinyLlama(new Random(1), {}, config)
const failure = ({ config, tensors }: TinyCheckpoint) => {
  try {
    buildGraphs(config, tensors)
  } catch (error) {
    return error as { code: string; message: string; where?: string; hint?: string }
  }
  throw new Error('it was built')
}

describe('ConfigReader', () => {
  const reader = new ConfigReader({ size: 3, half: 0.5, text: 'x', flag: true, none: null, list: [1], object: { a: 1 }, big: 1e300 })

  it('reads what is there, and fallbacks for what is not', () => {
    expect([reader.size('size'), reader.size('gone', 7), reader.size('none', 7)]).toEqual([3, 7, 7])
    expect([reader.number('half'), reader.text('text'), reader.flag('flag', false), reader.flag('gone', true)]).toEqual([
      0.5,
      'x',
      true,
      true,
    ])
    expect(reader.section('object')?.size('a')).toBe(1)
    expect([reader.section('none'), reader.section('gone'), reader.has('none'), reader.has('size')]).toEqual([null, null, false, true])
  })

  it.each([
    ['size', 'gone', /"gone" must be a positive integer and it is not there/],
    ['size', 'half', /"half" must be a positive integer and it is 0\.5/],
    ['size', 'text', /"text".*"x"/],
    ['size', 'big', /"big"/],
    ['number', 'text', /"text" must be a number/],
    ['number', 'none', /"none" must be a number and it is not there/],
    ['text', 'size', /"size" must be a text and it is 3/],
    ['section', 'list', /"list" must be an object/],
    ['section', 'text', /"text" must be an object/],
  ] as const)('%s of %s', (kind, key, expected) => {
    expect(() => reader[kind](key)).toThrow(expected)
    expect(() => new ConfigReader({ flag: 1 }).flag('flag', true)).toThrow(/true or false/)
  })

  it('counts labels', () => {
    const count = (config: Record<string, unknown>) => new ConfigReader(config).labelCount
    expect([count({ id2label: { 0: 'a', 1: 'b', 2: 'c' } }), count({ num_labels: 5 }), count({})]).toEqual([3, 5, 2])
  })
})

describe('buildGraphs', () => {
  it('names the nearest architecture', () => {
    expect(failure({ ...bert(), config: { ...bert().config, model_type: 'berd' } })).toMatchObject({
      code: 'bad-input',
      message: expect.stringContaining('"berd"'),
      hint: 'Did you mean "bert"?',
    })
    expect(failure({ config: { model_type: 'quantum-chef' }, tensors: new Map() }).hint).toContain(architectures[0].type)
    expect(failure({ config: {}, tensors: new Map() }).message).toMatch(/"model_type".*not there/)
  })

  it('names a class that is not known', () => {
    expect(failure(bert({ architectures: ['BertForMaskedML'] }))).toMatchObject({
      code: 'unsupported',
      hint: 'Did you mean "BertForMaskedLM"?',
    })
    expect(failure(llama({ architectures: ['LlamaForImageClassification'] }))).toMatchObject({ code: 'unsupported' })
  })

  it.each([
    [bert, { hidden_size: 18, num_attention_heads: 4 }, /"hidden_size" 18 is no multiple of "num_attention_heads" 4/],
    [bert, { hidden_size: undefined }, /"hidden_size".*not there/],
    [bert, { num_hidden_layers: '2' }, /"num_hidden_layers".*"2"/],
    [bert, { position_embedding_type: 'relative_key' }, /relative_key/],
    [bert, { hidden_act: 'gleu' }, /gleu/],
    [bert, { layer_norm_eps: null, intermediate_size: -1 }, /intermediate_size/],
    [llama, { num_key_value_heads: 3 }, /"num_attention_heads" 4 is no multiple of "num_key_value_heads" 3/],
    [llama, { head_dim: null, hidden_size: 18 }, /"hidden_size" 18/],
    [llama, { rope_scaling: { rope_type: 'dynamic', factor: 2 } }, /"dynamic"/],
    [llama, { rope_scaling: [1] }, /"rope_scaling" must be an object/],
    [llama, { rope_scaling: { rope_type: 'linear', factor: 'two' } }, /"factor"/],
    [llama, { tie_word_embeddings: 'no' }, /"tie_word_embeddings"/],
  ] as const)('%o says what is wrong with %j', (build, config, expected) => {
    expect(failure(build(config)).message).toMatch(expected)
  })

  it('names tensors that are missing, under the names that the checkpoint uses', () => {
    const checkpoint = bert()
    checkpoint.tensors.delete('embeddings.word_embeddings.weight')
    checkpoint.tensors.delete('encoder.layer.1.output.dense.bias')
    expect(failure(checkpoint).message).toBe(
      'the checkpoint lacks the tensors embeddings.word_embeddings.weight, encoder.layer.1.output.dense.bias',
    )
    const headed = bert({ architectures: ['BertForSequenceClassification'] })
    headed.tensors.delete('bert.embeddings.word_embeddings.weight')
    expect(failure(headed).message).toBe('the checkpoint lacks the tensor bert.embeddings.word_embeddings.weight')
    const decoder = llama()
    decoder.tensors.delete('lm_head.weight')
    expect(failure(decoder).message).toBe('the checkpoint lacks the tensor lm_head.weight')
  })

  it('names what the graph has no place for', () => {
    const checkpoint = llama()
    checkpoint.tensors.set('model.layers.0.self_attn.rotary_emb.inv_freq', checkpoint.tensors.get('model.norm.weight')!)
    expect(buildGraphs(checkpoint.config, checkpoint.tensors).unused).toEqual(['model.layers.0.self_attn.rotary_emb.inv_freq'])
    expect(buildGraphs(llama().config, llama().tensors).unused).toEqual([])
  })

  it('reads no weight while it builds', () => {
    const { config, tensors } = llama()
    const lazy = new Map(
      [...tensors].map(([name, { dtype, shape }]): [string, Tensor] => [
        name,
        new LazyTensor(dtype, shape, () => Promise.reject(new Error(name))),
      ]),
    )
    expect(() => buildGraphs(config, lazy)).not.toThrow()
  })

  it('norms of checkpoints from TensorFlow are found under their older names', async () => {
    const [plain, older] = [bert(), bert()]
    for (const [name, tensor] of [...older.tensors])
      if (name.includes('LayerNorm')) {
        older.tensors.delete(name)
        older.tensors.set(name.replace('weight', 'gamma').replace('bias', 'beta'), tensor)
      }
    expect(await distanceOf(modelOf(older).graph, modelOf(plain).graph)).toBe(0)
  })

  it('a base model may lie in a checkpoint with a head', async () => {
    const [plain, inside] = [bert(), bert()]
    for (const [name, tensor] of [...inside.tensors]) {
      inside.tensors.delete(name)
      inside.tensors.set(`bert.${name}`, tensor)
    }
    expect(await distanceOf(modelOf(inside).graph, modelOf(plain).graph)).toBe(0)
  })

  it('a pooler is taken where there is one', () => {
    const without = bert()
    for (const name of [...without.tensors.keys()]) if (name.startsWith('pooler')) without.tensors.delete(name)
    expect(modelOf(bert()).graph.outputs.map(({ name }) => name)).toEqual(['last_hidden_state', 'pooler_output'])
    expect(modelOf(without).graph.outputs.map(({ name }) => name)).toEqual(['last_hidden_state'])
  })

  it('answers to questions: a start and an end score for each token, from one linear', async () => {
    const checkpoint = bert({ architectures: ['BertForQuestionAnswering'] })
    const { graph } = modelOf(checkpoint)
    const inputs = { input_ids: ndarray('int64', [1, 3], [1, 2, 3]), attention_mask: ndarray('int64', [1, 3], [1, 1, 1]) }
    const feeds = completed(graph, inputs)
    const { start_logits: start, end_logits: end } = await evaluateGraph(graph, feeds)
    expect([start.shape, end.shape]).toEqual([
      [1, 3],
      [1, 3],
    ])
    const tensors = new Map([...checkpoint.tensors].map(([name, tensor]) => [name.replace(/^bert\./, ''), tensor]))
    const base = await evaluateGraph(modelOf({ config: { ...checkpoint.config, architectures: ['BertModel'] }, tensors }).graph, feeds)
    const [hidden, weight, bias] = [
      base['last_hidden_state'].data,
      checkpoint.tensors.get('qa_outputs.weight')!,
      checkpoint.tensors.get('qa_outputs.bias')!,
    ]
    const score = (token: number, label: number) => {
      let sum = Number(bias.elements![label])
      for (let i = 0; i < 16; i++) sum += Number(hidden[token * 16 + i]) * Number(weight.elements![label * 16 + i])
      return sum
    }
    for (let token = 0; token < 3; token++) {
      expect(Number(start.data[token])).toBeCloseTo(score(token, 0), 5)
      expect(Number(end.data[token])).toBeCloseTo(score(token, 1), 5)
    }
  })

  it('newer files keep the base of rotary positions in rope_parameters', async () => {
    const older = modelOf(llama({ rope_theta: 500, rope_scaling: { type: 'linear', factor: 2 } }))
    const newer = modelOf(llama({ rope_parameters: { rope_type: 'linear', rope_theta: 500, factor: 2 } }))
    expect(await distanceOf(newer.graph, older.graph)).toBe(0)
    expect(await distanceOf(modelOf(llama()).graph, older.graph)).toBeGreaterThan(1e-3)
  })

  it('biases of attention and feed-forward are taken where the configuration says so', () => {
    expect(failure(llama({ attention_bias: true })).message).toMatch(/model\.layers\.0\.self_attn\.q_proj\.bias/)
    expect(failure(llama({ mlp_bias: true })).message).toMatch(/model\.layers\.0\.mlp\.gate_proj\.bias/)
  })
})

describe('sentence embeddings by modules.json', () => {
  const transformer = { idx: 0, name: '0', path: '', type: 'sentence_transformers.models.Transformer' }
  const pooling = { idx: 1, name: '1', path: '1_Pooling', type: 'sentence_transformers.models.Pooling' }
  const normalize = { idx: 2, name: '2', path: '2_Normalize', type: 'sentence_transformers.models.Normalize' }
  const documents = (modules: unknown, mode?: Record<string, unknown>) =>
    new Map<string, unknown>([
      ['modules.json', modules],
      ...(mode ? [['1_Pooling/config.json', { word_embedding_dimension: 16, ...mode }] as [string, unknown]] : []),
    ])
  const ids = ndarray('int64', [2, 3], [3, 4, 5, 6, 7, 0])
  const mask = ndarray('int64', [2, 3], [1, 1, 1, 1, 1, 0])

  async function run(modules: unknown, mode?: Record<string, unknown>) {
    const { graph } = modelOf(bert(), documents(modules, mode))
    expect(graph.outputs.map(({ name }) => name)).toEqual(['last_hidden_state', 'sentence_embedding'])
    const results = await evaluateGraph(graph, completed(graph, { input_ids: ids, attention_mask: mask }))
    return { hidden: numbersOf(results['last_hidden_state']), vector: numbersOf(results['sentence_embedding']) }
  }

  it('the mean over tokens, padding left out', async () => {
    for (const mode of [{ pooling_mode_mean_tokens: true, pooling_mode_cls_token: false }, undefined]) {
      const { hidden, vector } = await run([transformer, pooling], mode)
      for (let row = 0; row < 2; row++)
        for (let c = 0; c < 16; c++) {
          const tokens = row ? [0, 1] : [0, 1, 2]
          const mean = tokens.reduce((sum, t) => sum + hidden[(row * 3 + t) * 16 + c], 0) / tokens.length
          expect(vector[row * 16 + c]).toBeCloseTo(mean, 5)
        }
    }
  })

  it('the first token', async () => {
    const { hidden, vector } = await run([transformer, pooling], { pooling_mode_cls_token: true, pooling_mode_mean_tokens: false })
    for (let row = 0; row < 2; row++) for (let c = 0; c < 16; c++) expect(vector[row * 16 + c]).toBeCloseTo(hidden[row * 48 + c], 6)
  })

  it('of length 1 where modules.json says so', async () => {
    const { vector } = await run([transformer, pooling, normalize])
    for (let row = 0; row < 2; row++) expect(Math.hypot(...vector.slice(row * 16, (row + 1) * 16))).toBeCloseTo(1, 5)
  })

  it.each([
    [[transformer, pooling], { pooling_mode_max_tokens: true }, /max_tokens/],
    [[transformer, pooling], { pooling_mode_mean_tokens: true, pooling_mode_cls_token: true }, /together/],
    [[transformer, pooling], { pooling_mode_mean_tokens: false, pooling_mode_cls_token: false }, /pooling/],
    [[transformer, pooling, { type: 'sentence_transformers.models.Dense', path: '2_Dense' }], {}, /Dense/],
    [[transformer, normalize], {}, /Normalize/],
    [[transformer, pooling, pooling, { type: 'a.b.LSTM' }], {}, /LSTM/],
  ])('%j with %j is refused', (modules, mode, expected) => {
    expect(() => modelOf(bert(), documents(modules, mode))).toThrow(expected)
  })

  it('without modules.json there is none', () => {
    expect(modelOf(bert(), new Map()).graph.outputs.map(({ name }) => name)).not.toContain('sentence_embedding')
  })
})
