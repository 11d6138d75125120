import { badInput, didYouMean } from '../base/errors.js'
import type { Graph } from '../ir/graph.js'
import type { Config } from '../ir/model.js'
import type { Tensor } from '../ir/tensor.js'
import { Parameters } from '../nn/parameters.js'
import { type Architecture, ConfigReader, type Documents } from './architecture.js'
import { bert } from './bert.js'
import { distilbert } from './distilbert.js'
import { gpt2 } from './gpt2.js'
import { llama } from './llama.js'
import { qwen3 } from './qwen3.js'
import { vit } from './vit.js'

export type { Architecture, Documents } from './architecture.js'
export { ConfigReader } from './architecture.js'
export { CompletedParameters, checkpointTensors, configWithHead, freshGraphs, type HeadOptions, withClasses } from './fresh.js'

/** All architectures that can be imported from a checkpoint. */
export const architectures: readonly Architecture[] = [bert, distilbert, gpt2, llama, qwen3, vit]

/**
 * The graphs of a checkpoint, built from its configuration.
 *
 * @throws TinsmithError `bad-input` for an unknown architecture (the nearest is named), a wrong configuration, or
 * missing or misshapen tensors (named)
 */
export function buildGraphs(
  config: Config,
  tensors: ReadonlyMap<string, Tensor>,
  documents: Documents = new Map(),
  parameters = new Parameters(tensors),
): { graphs: ReadonlyMap<string, Graph>; unused: string[] } {
  const reader = new ConfigReader(config)
  const architecture = architectureOf(config)
  const graphs = architecture.build({ config: reader, parameters, documents })
  parameters.check()
  return { graphs, unused: parameters.unused }
}

/**
 * The architecture that a configuration names.
 *
 * @throws TinsmithError `bad-input` for an unknown one; the nearest is named
 */
export function architectureOf(config: Config): Architecture {
  const type = new ConfigReader(config).text('model_type')
  const architecture = architectures.find((candidate) => candidate.type === type)
  if (architecture) return architecture
  throw badInput(`the architecture "${type}" is not known`, {
    where: 'config.json',
    hint: didYouMean(
      type,
      architectures.map((known) => known.type),
    ),
  })
}
