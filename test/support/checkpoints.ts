import { Random } from '../../src/base/random.js'
import { type Config, Model } from '../../src/ir/model.js'
import { ArrayTensor, type Tensor } from '../../src/ir/tensor.js'
import { tidy } from '../../src/ir/tidy.js'
import { verify } from '../../src/ir/verify.js'
import { architectures, buildGraphs, ConfigReader, type Documents } from '../../src/models/index.js'
import { Parameters } from '../../src/nn/parameters.js'
import { sizeOf } from '../../src/numbers/dtype.js'
import { inferShapes } from '../../src/ops/infer.js'

/** What lies in a checkpoint's folder, in memory. */
export interface TinyCheckpoint {
  readonly config: Record<string, unknown>
  readonly tensors: Map<string, Tensor>
}

export interface BertSizes {
  readonly hidden: number
  readonly heads: number
  readonly layers: number
  readonly inner: number
  readonly vocabulary: number
  readonly positions: number
}

export interface LlamaSizes extends BertSizes {
  readonly kvHeads: number
  readonly headSize: number
  readonly tied: boolean
}

const usualBert: BertSizes = { hidden: 16, heads: 2, layers: 2, inner: 24, vocabulary: 40, positions: 16 }
const usualLlama: LlamaSizes = { ...usualBert, heads: 4, kvHeads: 2, headSize: 4, tied: false, positions: 32 }

/** Random weights by the shapes of a table; gains around 1, everything else around 0. */
function fill(random: Random, shapes: Readonly<Record<string, readonly number[]>>): Map<string, Tensor> {
  return new Map(
    Object.entries(shapes).map(([name, shape]) => {
      const gain = /(norm\w*|ln_\w)\.weight$/i.test(name)
      const deviation = shape.length === 2 ? 0.6 / Math.sqrt(shape[1]) : 0.1
      const data = random.stream(name).normals(sizeOf(shape), gain ? 0.3 : name.includes('embed') ? 0.5 : deviation)
      return [name, new ArrayTensor('float32', shape, gain ? data.map((x) => 1 + x) : data)]
    }),
  )
}

/** A random BERT checkpoint as the reference library would save it. */
export function tinyBert(random: Random, sizes: Partial<BertSizes> = {}, config: Record<string, unknown> = {}): TinyCheckpoint {
  const { hidden, heads, layers, inner, vocabulary, positions } = { ...usualBert, ...sizes }
  const className = ([config['architectures']].flat()[0] as string | undefined) ?? 'BertModel'
  const prefix = className === 'BertModel' ? '' : 'bert.'
  const shapes: Record<string, readonly number[]> = {}
  const linear = (name: string, inputs: number, outputs: number) =>
    Object.assign(shapes, { [`${name}.weight`]: [outputs, inputs], [`${name}.bias`]: [outputs] })
  const norm = (name: string) => Object.assign(shapes, { [`${name}.weight`]: [hidden], [`${name}.bias`]: [hidden] })
  shapes[`${prefix}embeddings.word_embeddings.weight`] = [vocabulary, hidden]
  shapes[`${prefix}embeddings.position_embeddings.weight`] = [positions, hidden]
  shapes[`${prefix}embeddings.token_type_embeddings.weight`] = [2, hidden]
  norm(`${prefix}embeddings.LayerNorm`)
  for (let i = 0; i < layers; i++) {
    const layer = `${prefix}encoder.layer.${i}`
    for (const part of ['query', 'key', 'value']) linear(`${layer}.attention.self.${part}`, hidden, hidden)
    linear(`${layer}.attention.output.dense`, hidden, hidden)
    norm(`${layer}.attention.output.LayerNorm`)
    linear(`${layer}.intermediate.dense`, hidden, inner)
    linear(`${layer}.output.dense`, inner, hidden)
    norm(`${layer}.output.LayerNorm`)
  }
  if (className === 'BertForMaskedLM') {
    linear('cls.predictions.transform.dense', hidden, hidden)
    norm('cls.predictions.transform.LayerNorm')
    shapes['cls.predictions.bias'] = [vocabulary]
  } else if (className === 'BertForQuestionAnswering') linear('qa_outputs', hidden, 2)
  else if (className !== 'BertForTokenClassification') linear(`${prefix}pooler.dense`, hidden, hidden)
  if (className.includes('Classification')) linear('classifier', hidden, (config['num_labels'] as number | undefined) ?? 2)
  return {
    config: {
      model_type: 'bert',
      architectures: [className],
      hidden_size: hidden,
      num_attention_heads: heads,
      num_hidden_layers: layers,
      intermediate_size: inner,
      vocab_size: vocabulary,
      max_position_embeddings: positions,
      ...config,
    },
    tensors: fill(random, shapes),
  }
}

/** A random Llama checkpoint as the reference library would save it. */
export function tinyLlama(random: Random, sizes: Partial<LlamaSizes> = {}, config: Record<string, unknown> = {}): TinyCheckpoint {
  const { hidden, heads, kvHeads, headSize, layers, inner, vocabulary, positions, tied } = { ...usualLlama, ...sizes }
  const shapes: Record<string, readonly number[]> = { 'model.embed_tokens.weight': [vocabulary, hidden], 'model.norm.weight': [hidden] }
  for (let i = 0; i < layers; i++) {
    const layer = `model.layers.${i}`
    Object.assign(shapes, {
      [`${layer}.input_layernorm.weight`]: [hidden],
      [`${layer}.post_attention_layernorm.weight`]: [hidden],
      [`${layer}.self_attn.q_proj.weight`]: [heads * headSize, hidden],
      [`${layer}.self_attn.k_proj.weight`]: [kvHeads * headSize, hidden],
      [`${layer}.self_attn.v_proj.weight`]: [kvHeads * headSize, hidden],
      [`${layer}.self_attn.o_proj.weight`]: [hidden, heads * headSize],
      [`${layer}.mlp.gate_proj.weight`]: [inner, hidden],
      [`${layer}.mlp.up_proj.weight`]: [inner, hidden],
      [`${layer}.mlp.down_proj.weight`]: [hidden, inner],
    })
  }
  if (!tied) shapes['lm_head.weight'] = [vocabulary, hidden]
  return {
    config: {
      model_type: 'llama',
      architectures: ['LlamaForCausalLM'],
      hidden_size: hidden,
      num_attention_heads: heads,
      num_key_value_heads: kvHeads,
      head_dim: headSize,
      num_hidden_layers: layers,
      intermediate_size: inner,
      vocab_size: vocabulary,
      max_position_embeddings: positions,
      tie_word_embeddings: tied,
      ...config,
    },
    tensors: fill(random, shapes),
  }
}

/** The canonical model of a checkpoint in memory. */
export function modelOf({ config, tensors }: { config: Config; tensors: ReadonlyMap<string, Tensor> }, documents?: Documents): Model {
  const { graphs } = buildGraphs(config, tensors, documents)
  for (const graph of graphs.values()) {
    inferShapes(graph)
    tidy(graph)
    verify(graph)
  }
  return new Model(graphs, { config })
}

export const tinyBertModel = (seed: number, sizes?: Partial<BertSizes>, config?: Record<string, unknown>): Model =>
  modelOf(tinyBert(new Random(seed, 'tiny bert'), sizes, config))

export const tinyLlamaModel = (seed: number, sizes?: Partial<LlamaSizes>, config?: Record<string, unknown>): Model =>
  modelOf(tinyLlama(new Random(seed, 'tiny llama'), sizes, config))

/** Takes down which weights an architecture asks for, and with which shape. */
class AskedFor extends Parameters {
  readonly shapes: Record<string, readonly number[]> = {}

  constructor() {
    super(new Map())
  }

  override has(): boolean {
    return true
  }

  override get(name: string, shape: readonly number[]): Tensor {
    this.shapes[name] = shape
    return super.get(name, shape)
  }
}

/** A random checkpoint that holds all that an architecture asks for by a configuration. */
export function invented(random: Random, config: Record<string, unknown>): TinyCheckpoint {
  const architecture = architectures.find(({ type }) => type === config['model_type'])!
  const parameters = new AskedFor()
  architecture.build({ config: new ConfigReader(config), parameters, documents: new Map() })
  return { config, tensors: fill(random, parameters.shapes) }
}

/** Small sizes of each architecture, as config.json has them. */
export const smallConfigs = {
  distilbert: { model_type: 'distilbert', dim: 16, n_heads: 2, n_layers: 2, hidden_dim: 24, vocab_size: 40, max_position_embeddings: 16 },
  gpt2: { model_type: 'gpt2', n_embd: 16, n_head: 2, n_layer: 2, n_positions: 32, vocab_size: 40 },
  qwen3: {
    model_type: 'qwen3',
    hidden_size: 16,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 8,
    num_hidden_layers: 2,
    intermediate_size: 24,
    vocab_size: 40,
    max_position_embeddings: 32,
  },
  vit: {
    model_type: 'vit',
    hidden_size: 16,
    num_attention_heads: 2,
    num_hidden_layers: 2,
    intermediate_size: 24,
    image_size: 12,
    patch_size: 4,
    num_channels: 1,
  },
} as const

/** A random model of an architecture with one of its classes. */
export const smallModel = (type: keyof typeof smallConfigs, className: string, config: Record<string, unknown> = {}, seed = 1): Model =>
  modelOf(invented(new Random(seed, className), { ...smallConfigs[type], architectures: [className], ...config }))
