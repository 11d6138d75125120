import type { TextSample } from '../../data/index.js'
import type { Feeds, LoadOptions } from '../../engine/session.js'
import { int } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import { ignoredLabel, mean, squaredDifference, times } from '../../nn/losses.js'
import { firstToken } from '../../nn/masks.js'
import type { Net } from '../../nn/net.js'
import { allocate, type NDArray, ndarray } from '../../numbers/dtype.js'
import type { Objective } from '../objective.js'
import { blocksOf } from './blocks.js'
import { sharedInput, valueNamed } from './graph-values.js'
import { type MaskedLanguageModelOptions, maskedLanguageModel } from './masked-language-model.js'
import { Teacher } from './teacher.js'
import { TextInputs, type TokenWindow } from './text-inputs.js'

export interface SelfDistillationOptions extends MaskedLanguageModelOptions, Pick<LoadOptions, 'threads'> {
  /** The same model after an earlier run of further pretraining; `graph` begins again where that run began. */
  readonly teacher: Graph
  /** Of the difference to the teacher. Default 1. */
  readonly weight?: number
}

/**
 * Further pretraining with a model's own earlier self as teacher: hidden tokens on the masked text, plus the squared distance of
 * the first token's last hidden state from the teacher's on the text without masks. Both texts go through one graph, the masked
 * ones in the first half of the rows.
 *
 * Source: Self-Distillation for Further Pre-training of Transformers (Lee et al. 2023), section 3.
 *
 * @throws TinsmithError as {@link maskedLanguageModel}
 * @example
 * const objective = selfDistillation({ tokenizer, config, graph: downloaded, teacher: pretrainedFurther })
 */
export function selfDistillation({
  teacher,
  weight = 1,
  threads,
  ...options
}: SelfDistillationOptions): Objective<TextSample | TokenWindow> {
  const masked = maskedLanguageModel(options)
  const inputs = new TextInputs(options)
  const [own, other] = [options.graph, teacher].map((graph) => blocksOf(graph).at(-1)!.hidden())
  const runner = new Teacher(teacher, [other], { threads })
  const name = `teacher/${other.name}`
  return {
    name: 'self-distillation',
    loss(net) {
      const hidden = valueNamed(net.graph, own.name)
      const found = secondHalf(net, firstToken(net, hidden))
      const wanted = firstToken(net, sharedInput(net, name, 'float32', ['texts', hidden.shape![1], other.shape!.at(-1)!]))
      const distances = net.op('ReduceSum', [squaredDifference(net, found, wanted), net.ints([-1])], { keepdims: int(0) })
      return net.op('Add', [masked.loss(net), times(net, mean(net, distances), weight)])
    },
    async batch(samples, random) {
      const plain = inputs.feeds(samples.map((sample) => inputs.together(sample)))
      const labels = ndarray('int64', plain['input_ids'].shape, new Array(plain['input_ids'].data.length).fill(ignoredLabel))
      const both = stacked(await masked.batch(samples, random), { ...plain, labels })
      const values = await runner.run(plain)
      return { ...both, [name]: values[other.name] }
    },
    dispose: () => runner.dispose(),
  }
}

function secondHalf(net: Net, rows: Value): Value {
  const halves = net.op('Reshape', [rows, net.ints([2, -1, Number(rows.shape!.at(-1))])])
  return net.op('Gather', [halves, net.ints(1)], { axis: int(0) })
}

/** The rows of two batches of one shape. */
function stacked(first: Feeds, second: Feeds): Feeds {
  return Object.fromEntries(Object.entries(first).map(([name, array]) => [name, rowsOfBoth(array, second[name])]))
}

function rowsOfBoth(first: NDArray, second: NDArray): NDArray {
  const data = allocate(first.dtype, first.data.length + second.data.length) as Float32Array
  data.set(first.data as Float32Array)
  data.set(second.data as Float32Array, first.data.length)
  return { dtype: first.dtype, shape: [first.shape[0] + second.shape[0], ...first.shape.slice(1)], data }
}
