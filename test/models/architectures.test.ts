import { describe, expect, it } from 'vitest'
import { anatomyOf } from '../../src/anatomy/index.js'
import { Random } from '../../src/base/random.js'
import type { Feeds } from '../../src/engine/session.js'
import type { Graph } from '../../src/ir/graph.js'
import type { Model } from '../../src/ir/model.js'
import { type NDArray, ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { invented, modelOf, smallConfigs, smallModel } from '../support/checkpoints.js'
import { completed, worst } from '../support/goldens.js'
import { probes } from '../support/graphs.js'

type Family = keyof typeof smallConfigs

const signature = (graph: Graph) => Object.fromEntries(graph.outputs.map(({ name, shape }) => [name, shape?.join(' ')]))
const tokens = (rows: readonly (readonly number[])[]): NDArray => ndarray('int64', [rows.length, rows[0].length], rows.flat())
const run = (model: Model, feeds: Feeds) => evaluateGraph(model.graph, completed(model.graph, feeds))
const row = (array: NDArray, index: number): number[] => {
  const width = numbersOf(array).length / array.shape[0]
  return [...numbersOf(array).slice(index * width, (index + 1) * width)]
}

const [text, spans] = [
  'batch_size sequence_length',
  { start_logits: 'batch_size sequence_length', end_logits: 'batch_size sequence_length' },
]

describe('heads', () => {
  it.each<[Family, string, Record<string, string>]>([
    ['distilbert', 'DistilBertModel', { last_hidden_state: `${text} 16` }],
    ['distilbert', 'DistilBertForMaskedLM', { logits: `${text} 40` }],
    ['distilbert', 'DistilBertForSequenceClassification', { logits: 'batch_size 3' }],
    ['distilbert', 'DistilBertForTokenClassification', { logits: `${text} 3` }],
    ['distilbert', 'DistilBertForQuestionAnswering', spans],
    ['gpt2', 'GPT2Model', { last_hidden_state: `${text} 16` }],
    ['gpt2', 'GPT2ForSequenceClassification', { logits: 'batch_size 3' }],
    ['gpt2', 'GPT2ForTokenClassification', { logits: `${text} 3` }],
    ['gpt2', 'GPT2ForQuestionAnswering', spans],
    ['qwen3', 'Qwen3Model', { last_hidden_state: `${text} 16` }],
    ['qwen3', 'Qwen3ForSequenceClassification', { logits: 'batch_size 3' }],
    ['qwen3', 'Qwen3ForTokenClassification', { logits: `${text} 3` }],
    ['qwen3', 'Qwen3ForQuestionAnswering', spans],
    ['vit', 'ViTModel', { last_hidden_state: 'batch_size 10 16', pooler_output: 'batch_size 16' }],
    ['vit', 'ViTForImageClassification', { logits: 'batch_size 3' }],
  ])('%s: %s', (family, className, outputs) => {
    const { graph } = smallModel(family, className, { num_labels: 3 })
    expect(signature(graph)).toEqual(outputs)
    const blocks = anatomyOf(graph).blocks.map(({ linears, norms }) => [[...linears.keys()].sort().join(' '), norms.length])
    const roles = { distilbert: 'down k o q up v', gpt2: 'down o qkv up', qwen3: 'down gate k o q up v', vit: 'down k o q up v' }[family]
    expect(blocks).toEqual([0, 1].map(() => [roles, family === 'qwen3' ? 4 : 2]))
  })

  it.each(['gpt2', 'qwen3'] as const)('%s: the language model has a cache', (family) => {
    const { graph } = smallModel(family, family === 'gpt2' ? 'GPT2LMHeadModel' : 'Qwen3ForCausalLM')
    const cache = 'batch_size 2 past_sequence_length + sequence_length 8'
    const presents = [0, 1].flatMap((i) => ['key', 'value'].map((part) => [`present.${i}.${part}`, cache] as const))
    expect(signature(graph)).toEqual({ logits: `${text} 40`, ...Object.fromEntries(presents) })
  })

  it('ViT has a pooler where the checkpoint has one', () => {
    const { config, tensors } = invented(new Random(1), { ...smallConfigs.vit, architectures: ['ViTModel'] })
    for (const name of [...tensors.keys()]) if (name.startsWith('pooler.')) tensors.delete(name)
    expect(Object.keys(signature(modelOf({ config, tensors }).graph))).toEqual(['last_hidden_state'])
  })
})

describe('names of weights', () => {
  it.each<[Family, string, string]>([
    ['distilbert', 'DistilBertModel', 'distilbert'],
    ['gpt2', 'GPT2Model', 'transformer'],
    ['gpt2', 'GPT2LMHeadModel', 'transformer'],
    ['qwen3', 'Qwen3Model', 'model'],
    ['vit', 'ViTModel', 'vit'],
  ])('%s: %s is found with and without "%s."', async (family, className, prefix) => {
    const { config, tensors } = invented(new Random(2), { ...smallConfigs[family], architectures: [className] })
    const [plain, inside] = [modelOf({ config, tensors }), modelOf({ config, tensors: prefixed(tensors, prefix) })]
    for (const feeds of probes(plain.graph))
      expect(await evaluateGraph(inside.graph, feeds)).toEqual(await evaluateGraph(plain.graph, feeds))
  })

  const prefixed = <T>(tensors: ReadonlyMap<string, T>, prefix: string) =>
    new Map([...tensors].map(([name, tensor]) => [`${prefix}.${name}`, tensor]))
})

describe('the head on the last token', () => {
  const rows = [
    [7, 9, 4, 11],
    [5, 8, 39, 39],
  ]
  const mask = tokens([
    [1, 1, 1, 1],
    [1, 1, 0, 0],
  ])

  it.each<[Family, string]>([
    ['gpt2', 'GPT2ForSequenceClassification'],
    ['qwen3', 'Qwen3ForSequenceClassification'],
  ])('%s: scores the last token that is no padding, by its id or by the mask', async (family, className) => {
    for (const config of [{ pad_token_id: 39 }, {}]) {
      const model = smallModel(family, className, config)
      const together = (await run(model, { input_ids: tokens(rows), attention_mask: mask }))['logits']
      const alone = (await run(model, { input_ids: tokens([[5, 8]]) }))['logits']
      row(alone, 0).forEach((score, i) => void expect(row(together, 1)[i]).toBeCloseTo(score, 5))
    }
  })

  it('sees the token of padding where it is the text', async () => {
    const model = smallModel('gpt2', 'GPT2ForSequenceClassification', { pad_token_id: 11 })
    const [whole, cut] = [tokens([[7, 9, 4, 11]]), tokens([[7, 9, 4]])]
    const [a, b] = [(await run(model, { input_ids: whole }))['logits'], (await run(model, { input_ids: cut }))['logits']]
    expect(worst(a, b)).toBeLessThan(1e-6)
  })
})

describe('what config.json asks of the layers', () => {
  const ids = [3, 14, 15, 9, 2, 6]

  it('GPT-2 scales scores by layer, or not at all', () => {
    const scales = (config: Record<string, unknown>) =>
      [...smallModel('gpt2', 'GPT2Model', config).graph.nodes()]
        .filter(({ type }) => type === 'Attention')
        .map((node) => node.float('scale'))
    expect(scales({})).toEqual([undefined, undefined])
    expect(scales({ scale_attn_weights: false })).toEqual([1, 1])
    expect(scales({ scale_attn_by_inverse_layer_idx: true })).toEqual(
      [1 / Math.sqrt(8), 1 / Math.sqrt(8) / 2].map((x) => expect.closeTo(x, 6)),
    )
  })

  it.each([{ layer_types: ['sliding_attention'] }, { max_window_layers: 0 }])(
    'Qwen3 sees no further than its window: %o',
    async (layers) => {
      const config = { use_sliding_window: true, sliding_window: 3, num_hidden_layers: 1, ...layers }
      const [windowed, full] = [config, { ...config, use_sliding_window: false }].map((each) => smallModel('qwen3', 'Qwen3Model', each))
      const other = [30, ...ids.slice(1)]
      const hidden = async (model: Model, row: readonly number[]) => (await run(model, { input_ids: tokens([row]) }))['last_hidden_state']
      const changed = async (model: Model) => {
        const [a, b] = [numbersOf(await hidden(model, ids)), numbersOf(await hidden(model, other))]
        return ids.map((_, at) => Math.max(...Array.from({ length: 16 }, (_, i) => Math.abs(a[at * 16 + i] - b[at * 16 + i]))) > 1e-6)
      }
      expect(await changed(windowed)).toEqual([true, true, true, false, false, false])
      expect(await changed(full)).toEqual(ids.map(() => true))
    },
  )

  it.each<[Family, string, Record<string, unknown>, RegExp]>([
    ['gpt2', 'GPT2Model', { n_head: 3 }, /"n_embd" 16 is no multiple of "n_head" 3/],
    ['gpt2', 'GPT2Model', { add_cross_attention: true }, /add_cross_attention/],
    ['distilbert', 'DistilBertModel', { dim: 15 }, /"dim" 15 is no multiple of "n_heads" 2/],
    ['vit', 'ViTModel', { image_size: 2 }, /"image_size" 2 x 2 is smaller than "patch_size" 4 x 4/],
    ['vit', 'ViTModel', { patch_size: [4, 'x'] }, /"patch_size" must be a positive integer, or two/],
    ['qwen3', 'Qwen3Model', { use_sliding_window: true, sliding_window: 4, layer_types: 'all' }, /"layer_types" must be a list of texts/],
  ])('%s: says what is wrong with %o', (family, className, config, message) => {
    expect(() => smallModel(family, className, config)).toThrow(message)
  })

  it('ViT takes images and patches that are no squares', () => {
    const { graph } = smallModel('vit', 'ViTModel', { image_size: [8, 12], patch_size: [4, 3], num_channels: 2 })
    expect(graph.inputs[0].shape).toEqual(['batch_size', 2, 8, 12])
    expect(graph.outputs[0].shape).toEqual(['batch_size', 9, 16])
  })
})
