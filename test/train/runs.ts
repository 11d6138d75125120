import { Random } from '../../src/base/random.js'

import { Graph } from '../../src/ir/graph.js'
import { bert } from '../../src/models/bert.js'
import { freshGraphs } from '../../src/models/fresh.js'
import { crossEntropy, meanSquare } from '../../src/nn/losses.js'
import { Net } from '../../src/nn/net.js'
import { ndarray } from '../../src/numbers/dtype.js'
import type { Objective } from '../../src/train/objective.js'
import { adamW } from '../../src/train/optimizers/adamw.js'
import { schedule } from '../../src/train/schedules.js'
import type { TrainOptions } from '../../src/train/trainer.js'

/** A pair of numbers and what is to be made of them. */
export interface Point {
  readonly x: readonly [number, number]
  readonly y: number
}

export const points: readonly Point[] = Array.from({ length: 24 }, (_, i) => {
  const random = new Random(11, `point ${i}`)
  const x = [random.normal(), random.normal()] as const
  return { x, y: x[0] - 2 * x[1] }
})

/** y = w2 gelu(x w1 + b1): parameters `first.weight` [2, 5], `first.bias`, `second.weight` [5, 1]. */
export function smallNet(seed = 1): Graph {
  const net = new Net(new Graph('small'))
  const random = new Random(seed, 'small')
  const weight = (name: string, shape: readonly number[]) =>
    net.floats(
      name,
      shape,
      random.stream(name).normals(
        shape.reduce((a, b) => a * b, 1),
        0.5,
      ),
    )
  const hidden = net.op('Add', [
    net.op('MatMul', [net.input('x', 'float32', ['batch', 2]), weight('first.weight', [2, 5])]),
    weight('first.bias', [5]),
  ])
  net.output('y', net.op('MatMul', [net.op('Gelu', [hidden]), weight('second.weight', [5, 1])]))
  return net.graph
}

/** The mean squared error of {@link smallNet}. */
export const regression: Objective<Point> = {
  name: 'regression',
  loss: (net) => meanSquare(net, net.graph.value('y')!, net.input('target', 'float32', ['batch', 1])),
  batch: async (samples) => ({
    x: ndarray(
      'float32',
      [samples.length, 2],
      samples.flatMap((sample) => sample.x),
    ),
    target: ndarray(
      'float32',
      [samples.length, 1],
      samples.map((sample) => sample.y),
    ),
  }),
}

export const usualOptions: TrainOptions = {
  steps: 12,
  batchSize: 4,
  learningRate: 0.05,
  schedule: schedule('constant', { warmup: 0 }),
  optimizer: adamW(),
  seed: 3,
}

/** Five tokens and a label. */
export interface Sentence {
  readonly ids: readonly number[]
  readonly label: number
}

export const sentences: readonly Sentence[] = Array.from({ length: 30 }, (_, i) => {
  const random = new Random(5, `sentence ${i}`)
  const ids = Array.from({ length: 5 }, () => random.integer(20))
  return { ids, label: ids[0] % 3 }
})

/** A BERT of two tiny layers that sorts {@link sentences} into three classes. */
export function tinyClassifier(): Graph {
  const config = {
    model_type: 'bert',
    architectures: ['BertForSequenceClassification'],
    hidden_size: 16,
    num_attention_heads: 2,
    num_hidden_layers: 2,
    intermediate_size: 24,
    vocab_size: 20,
    max_position_embeddings: 8,
    id2label: { 0: 'a', 1: 'b', 2: 'c' },
    initializer_range: 0.2,
  }
  return freshGraphs(bert, config, new Random(2)).get('model')!
}

export const classification: Objective<Sentence> = {
  name: 'classification',
  loss: (net) => crossEntropy(net, net.graph.value('logits')!, net.input('labels', 'int64', ['batch_size'])),
  async batch(samples) {
    const shape = [samples.length, samples[0].ids.length]
    const size = shape[0] * shape[1]
    return {
      input_ids: ndarray(
        'int64',
        shape,
        samples.flatMap((sample) => sample.ids),
      ),
      attention_mask: ndarray('int64', shape, new Array<number>(size).fill(1)),
      token_type_ids: ndarray('int64', shape, new Array<number>(size).fill(0)),
      labels: ndarray(
        'int64',
        [samples.length],
        samples.map((sample) => sample.label),
      ),
    }
  },
}

/** Everything that has a state of its own. */
export const classifierOptions: TrainOptions = {
  steps: 30,
  batchSize: 4,
  accumulate: 2,
  learningRate: 0.01,
  schedule: schedule('cosine'),
  optimizer: adamW(),
  weightDecay: 0.01,
  clipNorm: 1,
  dropout: 0.1,
  average: 0.9,
  seed: 4,
  threads: 1,
}
