import { unsupported } from '../base/errors.js'
import { Random } from '../base/random.js'
import type { Graph } from '../ir/graph.js'
import type { Config } from '../ir/model.js'
import { LazyTensor, type Tensor, transposed } from '../ir/tensor.js'
import { Parameters } from '../nn/parameters.js'
import { sizeOf } from '../numbers/dtype.js'
import { type Architecture, ConfigReader } from './architecture.js'

/** Parameters of a model that has never been trained: whatever the architecture asks for is there, and is remembered. */
class FreshParameters extends Parameters {
  /** Weights that the checkpoint holds as [out, in] and the graph as [in, out], by name. */
  readonly turned = new Set<string>()
  readonly asked = new Set<string>()
  readonly #random: Random
  readonly #deviation: number
  readonly #modules: (name: string) => boolean

  constructor(random: Random, deviation: number, modules: (name: string) => boolean) {
    super(new Map())
    this.#random = random
    this.#deviation = deviation
    this.#modules = modules
  }

  override has(): boolean {
    return true
  }

  override hasModule(name: string): boolean {
    return this.#modules(name)
  }

  override get(name: string, shape: readonly number[]): Tensor {
    this.asked.add(name)
    return new LazyTensor('float32', shape, async () => this.#initial(name, shape))
  }

  override matrix(name: string, inputs: number, outputs: number): Tensor {
    this.turned.add(name)
    return transposed(this.get(name, [outputs, inputs]))
  }

  /** Gains of norms 1, biases 0, all others normal. */
  #initial(name: string, shape: readonly number[]): Float32Array {
    const count = sizeOf(shape)
    if (shape.length > 1) return this.#random.stream(name).normals(count, this.#deviation)
    return new Float32Array(count).fill(name.endsWith('weight') ? 1 : 0)
  }
}

/** A head that a model is to have, whether its checkpoint has one or not. */
export interface HeadOptions {
  /** End of the class's name: `ForSequenceClassification`, `ForMaskedLM`, `Model` ... */
  readonly head: string
  /** Names of the classes, where it has any. */
  readonly labels?: readonly string[]
  /** Where weights come from that the checkpoint lacks. */
  readonly random: Random
}

/**
 * The configuration of a model with another head.
 *
 * @throws TinsmithError `unsupported` when the architecture has none of that kind
 */
export function configWithHead(architecture: Architecture, config: Config, { head, labels }: HeadOptions): Config {
  const found = architecture.classes.find((name) => name.endsWith(head))
  if (!found)
    throw unsupported(`${architecture.type} has no class that ends in ${head}`, { hint: `It has ${architecture.classes.join(', ')}.` })
  const headed = { ...config, architectures: [found] }
  return labels ? withClasses(headed, labels) : headed
}

/** A configuration whose classes have these names, in the order of their indexes. */
export function withClasses(config: Config | null, names: readonly string[]): Config {
  return {
    ...config,
    num_labels: names.length,
    id2label: Object.fromEntries(names.map((name, i) => [String(i), name])),
    label2id: Object.fromEntries(names.map((name, i) => [name, i])),
  }
}

/** Parameters of a checkpoint; what it lacks is made anew, and {@link added} names it. */
export class CompletedParameters extends Parameters {
  readonly #fresh: FreshParameters
  readonly #tensors: ReadonlyMap<string, Tensor>
  readonly #classes: number | null

  /** @param classes how many the head is to have; one of another number is made anew */
  constructor(tensors: ReadonlyMap<string, Tensor>, random: Random, deviation: number, classes: number | null = null) {
    super(tensors)
    this.#tensors = tensors
    this.#classes = classes
    this.#fresh = new FreshParameters(random, deviation, () => false)
  }

  /** Names of the weights that were made. */
  get added(): string[] {
    return [...this.#fresh.asked]
  }

  override get(name: string, shape: readonly number[]): Tensor {
    return this.has(name) && this.#fits(name, shape) ? super.get(name, shape) : this.#fresh.get(name, shape)
  }

  #fits(name: string, shape: readonly number[]): boolean {
    return shape[0] !== this.#classes || this.#tensors.get(name)?.shape[0] === shape[0]
  }
}

/**
 * The graphs of an architecture with random weights, to be trained from nothing: matrices are normal with the deviation
 * `initializer_range` of the configuration (0.02), gains 1, biases 0. The same seed gives the same weights.
 *
 * @throws TinsmithError `bad-input` for a wrong configuration
 * @example
 * const graphs = freshGraphs(llama, { model_type: 'llama', hidden_size: 64 }, new Random(1))
 */
export function freshGraphs(architecture: Architecture, config: Config, random: Random): ReadonlyMap<string, Graph> {
  const reader = new ConfigReader(config)
  const headed =
    !/Model$/.test(String([config['architectures'] ?? ''].flat()[0] ?? '')) || /LMHeadModel$/.test(String(config['architectures']))
  const parameters = new FreshParameters(random, reader.number('initializer_range', 0.02), () => headed)
  return architecture.build({ config: reader, parameters, documents: new Map() })
}

/**
 * The weights of a graph under the names and in the layouts that checkpoints of its architecture have: what the Hugging Face
 * libraries read.
 *
 * @param graph canonical, with float weights
 */
export function checkpointTensors(architecture: Architecture, config: Config, graph: Graph): Map<string, Tensor> {
  const names = [...graph.constants.keys()]
  const parameters = new FreshParameters(new Random(0), 0, (module) => names.some((name) => name.startsWith(`${module}.`)))
  architecture.build({ config: new ConfigReader(config), parameters, documents: new Map() })
  const tensors = new Map<string, Tensor>()
  for (const name of parameters.asked) {
    const tensor = graph.constants.get(name)?.tensor
    if (tensor) tensors.set(name, parameters.turned.has(name) ? transposed(tensor) : tensor)
  }
  return tensors
}
