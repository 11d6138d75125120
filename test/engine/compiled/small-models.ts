import { Random } from '../../../src/base/random.js'
import type { Graph } from '../../../src/ir/graph.js'
import { architectureOf, freshGraphs } from '../../../src/models/index.js'

/** The configuration of a decoder with two key heads for four heads of queries. */
export const smallLlama = (positions: number) => ({
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  vocab_size: 50,
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  intermediate_size: 48,
  max_position_embeddings: positions,
})

/** A model of a configuration with random weights, always the same. */
export function fresh(config: Readonly<Record<string, unknown>>): Graph {
  return freshGraphs(architectureOf(config), config, new Random(1)).get('model')!
}
