import { describe, expect, it } from 'vitest'
import { type Anatomy, anatomyOf } from '../../src/anatomy/index.js'
import { Graph } from '../../src/ir/graph.js'
import { Model } from '../../src/ir/model.js'
import { passes } from '../../src/passes/index.js'
import { encoderOf } from '../support/blocks.js'
import { tinyBertModel, tinyLlamaModel } from '../support/checkpoints.js'
import { passContext, randomCalibration } from '../support/graphs.js'

/** What must not depend on how numbers are stored. */
const outline = ({ blocks, embeddings, others }: Anatomy) => ({
  blocks: blocks.map((block) => ({
    name: block.name,
    norms: block.norms.map((norm) => norm.name),
    linears: Object.fromEntries(
      [...block.linears].sort().map(([role, { name, inputs, outputs, bias }]) => [role, { name, inputs, outputs, bias: bias !== null }]),
    ),
    heads: [block.mixer.heads, block.mixer.kvHeads],
  })),
  embeddings: embeddings.map(({ name, rows, width }) => ({ name, rows, width })),
  others: others.map(({ name, inputs, outputs }) => ({ name, inputs, outputs })),
})

async function apply(model: Model, name: string, options: Record<string, unknown> = {}): Promise<Model> {
  const pass = passes.find((candidate) => candidate.name === name)!
  const calibration = pass.needs.calibration ? await randomCalibration(model.graph, Number(model.config?.['vocab_size'] ?? 16)) : null
  await pass.run(model, pass.options.parse(options), passContext(calibration))
  return model
}

const rolesOf = (graph: Graph) => anatomyOf(graph).blocks.map((block) => [...block.linears.keys()].sort().join(' '))
const namesOf = (graph: Graph) =>
  anatomyOf(graph).blocks.map((block) => Object.fromEntries([...block.linears].map(([role, { name }]) => [role, name])))

describe('anatomy of checkpoints', () => {
  it('BERT', () => {
    const { blocks, embeddings, others } = outline(anatomyOf(tinyBertModel(1).graph))
    const linear = (part: string, inputs: number, outputs: number) => ({ name: `encoder.layer.1.${part}`, inputs, outputs, bias: true })
    expect(blocks).toHaveLength(2)
    expect(blocks[1]).toEqual({
      name: 'encoder.layer.1',
      norms: ['encoder.layer.1.attention.output.LayerNorm', 'encoder.layer.1.output.LayerNorm'],
      linears: {
        q: linear('attention.self.query', 16, 16),
        k: linear('attention.self.key', 16, 16),
        v: linear('attention.self.value', 16, 16),
        o: linear('attention.output.dense', 16, 16),
        up: linear('intermediate.dense', 16, 24),
        down: linear('output.dense', 24, 16),
      },
      heads: [2, 2],
    })
    expect(embeddings.map(({ name }) => name)).toEqual(['embeddings.word_embeddings', 'embeddings.token_type_embeddings'])
    expect(others).toEqual([{ name: 'pooler.dense', inputs: 16, outputs: 16 }])
    expect(anatomyOf(tinyBertModel(1).graph).norms.map(({ name }) => name)).toContain('embeddings.LayerNorm')
  })

  it.each([true, false])('Llama, tied: %s', (tied) => {
    const { blocks, embeddings, others } = outline(anatomyOf(tinyLlamaModel(1, { tied }).graph))
    const linear = (part: string, inputs: number, outputs: number) => ({ name: `model.layers.0.${part}`, inputs, outputs, bias: false })
    expect(blocks).toHaveLength(2)
    expect(blocks[0]).toEqual({
      name: 'model.layers.0',
      norms: ['model.layers.0.input_layernorm', 'model.layers.0.post_attention_layernorm'],
      linears: {
        q: linear('self_attn.q_proj', 16, 16),
        k: linear('self_attn.k_proj', 16, 8),
        v: linear('self_attn.v_proj', 16, 8),
        o: linear('self_attn.o_proj', 16, 16),
        gate: linear('mlp.gate_proj', 16, 24),
        up: linear('mlp.up_proj', 16, 24),
        down: linear('mlp.down_proj', 24, 16),
      },
      heads: [4, 2],
    })
    expect(embeddings).toEqual([{ name: 'model.embed_tokens', rows: 40, width: 16 }])
    expect(others).toEqual([{ name: tied ? 'model.embed_tokens' : 'lm_head', inputs: 16, outputs: 40 }])
  })

  it('speaks to what nodes compute, not to their names', () => {
    const { graph } = tinyBertModel(1)
    const before = outline(anatomyOf(graph))
    for (const node of graph.nodes()) node.name = 'same'
    expect(outline(anatomyOf(graph))).toEqual(before)
  })
})

describe.each(['before', 'after'] as const)('blocks with the norm %s', (norm) => {
  const plain = { q: 'query', k: 'key', v: 'value', o: 'out', up: 'up', down: 'down' }
  const expected = (roles: Record<string, string>) =>
    [0, 1].map((i) => Object.fromEntries(Object.entries(roles).map(([role, name]) => [role, `layers.${i}.${name}`])))

  describe.each(['fused', 'expanded'] as const)('attention %s', (attention) => {
    it.each([true, false])('separate linears, bias: %s', (bias) => {
      const graph = encoderOf({ norm, attention, bias })
      expect(namesOf(graph)).toEqual(expected(plain))
      const anatomy = anatomyOf(graph)
      expect(anatomy.others).toEqual([])
      for (const [i, block] of anatomy.blocks.entries()) {
        expect(block.name).toBe(`layers.${i}`)
        expect(block.norms.map(({ name }) => name)).toEqual([`layers.${i}.first`, `layers.${i}.second`])
        expect([block.mixer.heads, block.mixer.kvHeads]).toEqual([4, 4])
      }
    })

    it('one linear for query, key and value', () => {
      const { q: _q, k: _k, v: _v, ...rest } = plain
      expect(namesOf(encoderOf({ norm, attention, projections: 'qkv' }))).toEqual(expected({ qkv: 'projections', ...rest }))
    })

    it('gated feed-forward, in two linears and in one', () => {
      expect(namesOf(encoderOf({ norm, attention, feedForward: 'gated' }))).toEqual(expected({ ...plain, gate: 'gate' }))
      const { up: _, ...rest } = plain
      expect(namesOf(encoderOf({ norm, attention, feedForward: 'gate_up' }))).toEqual(expected({ ...rest, gate_up: 'gate_up' }))
    })
  })

  it.each(['Add', 'Where', 'none'] as const)('expanded attention gives scores, probabilities and context, mask: %s', (mask) => {
    const { blocks } = anatomyOf(encoderOf({ norm, attention: 'expanded', mask }))
    expect(blocks).toHaveLength(2)
    for (const { mixer } of blocks) {
      expect(mixer.scores?.users.map((node) => node.type)).toEqual(['Softmax'])
      expect(mixer.probabilities?.producer?.type).toBe('Softmax')
      expect(mixer.context.producer?.type).toBe('MatMul')
      expect(mixer.context.producer?.input(0)).toBe(mixer.probabilities)
      expect(mixer.value.shape?.slice(1)).toEqual([4, 'tokens', 4])
    }
  })
})

describe('quantized forms have the same anatomy as float', () => {
  it.each([
    ['dynamic-int8', {}],
    ['static-int8', {}],
    ['weight-only', { blockSize: 16 }],
    ['weight-only', { bits: 8, blockSize: 16, symmetric: true }],
    ['float16', {}],
  ])('%s %j', async (pass, options) => {
    for (const build of [() => tinyBertModel(2, { vocabulary: 300 }), () => tinyLlamaModel(2, { vocabulary: 300, tied: true })]) {
      const [before, after] = [outline(anatomyOf(build().graph)), outline(anatomyOf((await apply(build(), pass, options)).graph))]
      expect(after).toEqual(before)
    }
  })

  it.each(['fused', 'expanded'] as const)('in blocks with attention %s', async (attention) => {
    for (const form of [{ projections: 'qkv' }, { feedForward: 'gate_up' }, { norm: 'before', feedForward: 'gated' }] as const) {
      const model = () => new Model([['model', encoderOf({ attention, ...form })]])
      const before = outline(anatomyOf(model().graph))
      expect(before.blocks).toHaveLength(2)
      for (const [name, options] of [
        ['dynamic-int8', {}],
        ['weight-only', { blockSize: 16 }],
      ] as const)
        expect(outline(anatomyOf((await apply(model(), name, options)).graph))).toEqual(before)
    }
  })

  it('the dtype of a linear is that of its stored weight', async () => {
    const { graph } = await apply(tinyBertModel(1), 'weight-only', { blockSize: 16 })
    expect(new Set(anatomyOf(graph).blocks.flatMap(({ linears }) => [...linears.values()].map(({ dtype }) => dtype)))).toEqual(
      new Set(['uint4']),
    )
  })
})

describe('graphs that are not what they seem', () => {
  it('an empty graph has an empty anatomy', () => {
    expect(anatomyOf(new Graph())).toEqual({ blocks: [], embeddings: [], others: [], linears: [], norms: [] })
  })

  it('linears without a mixer are others', () => {
    const graph = new Graph()
    const x = graph.addInput('x', 'float32', ['rows', 4])
    const [first] = encoderOf({}, 1).constants.values()
    const weight = graph.addConstant('head.weight', first.tensor!)
    graph.outputs.push(graph.add('MatMul', [x, weight]).output)
    const anatomy = anatomyOf(graph)
    expect(anatomy.blocks).toEqual([])
    expect(anatomy.others.length).toBe(anatomy.linears.length)
  })

  it('a classifier whose probabilities are multiplied is no attention', () => {
    const graph = encoderOf({ norm: 'before' }, 1)
    const hidden = graph.outputs[0]
    const probabilities = graph.add('Softmax', [hidden]).output
    graph.outputs.push(graph.add('Relu', [probabilities]).output)
    expect(rolesOf(graph)).toEqual(['down k o q up v'])
  })
})
