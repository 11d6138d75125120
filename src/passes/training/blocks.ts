/** Block-wise reconstruction: each block of a changed model learns to give what the original's block gives, one after the other. */
import { anatomyOf } from '../../anatomy/index.js'
import { residualStream } from '../../anatomy/stream.js'
import type { CalibrationBatch } from '../../calibration/calibration.js'
import type { CollectContext } from '../../calibration/collect.js'
import { openGraph } from '../../engine/open.js'
import type { Feeds } from '../../engine/session.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import { type Objective, type TrainOptions, train } from '../../train/index.js'
import { ActivationStore } from './activations.js'
import { relativeError } from './match.js'

/** What a method of reconstruction does to a block before and after it is trained. */
export interface BlockMethod {
  /** Changes the block so that it can be trained; returns what is trained besides its weights. */
  open(block: Graph): { readonly extra: readonly string[]; readonly groups?: TrainOptions['groups'] }
  /** Puts what was learned into the model. */
  close(block: Graph): Promise<void>
}

export interface ReconstructionOptions {
  readonly training: Omit<TrainOptions, 'extra' | 'groups'>
  /** Bytes of activations that may stay in memory; more lie on disk. */
  readonly budget: number
}

/** One block's relative error (mean square of the difference over mean square) before and after. */
export interface ReconstructedBlock {
  readonly block: string
  readonly before: number
  readonly after: number
}

/**
 * Trains a model block by block, in place by the method: inputs are what the changed model computes so far, targets what the original
 * computes. Only two streams of activations are kept.
 *
 * Sources: Li et al. 2021 (BRECQ), section 3.2; Wei et al. 2022 (QDrop), Algorithm 1.
 *
 * @throws TinsmithError `unsupported` where a model cannot be taken apart by layers
 */
export async function reconstructBlocks(
  model: Graph,
  original: Graph,
  batches: readonly CalibrationBatch[],
  method: BlockMethod,
  { training, budget }: ReconstructionOptions,
  context: Pick<CollectContext, 'progress' | 'signal'>,
): Promise<ReconstructedBlock[]> {
  const names = anatomyOf(model).blocks.map((block) => block.name)
  const [own, theirs] = [residualStream(model), residualStream(original)]
  let [current, wanted] = [await beginning(model, own[0], batches, budget), await beginning(original, theirs[0], batches, budget)]
  const figures: ReconstructedBlock[] = []
  const stage = context.progress.stage('reconstructing blocks', names.length)
  try {
    for (const [i, name] of names.entries()) {
      const target = await through(part(original, theirs[i], theirs[i + 1]), wanted, batches, budget)
      const block = part(model, own[i], own[i + 1])
      const opened = method.open(block)
      const samples = batches.map((_, index) => ({ index }))
      const { steps } = await train(block, towards(block, current, target, batches), samples, { ...training, ...opened }, context)
      await method.close(block)
      const next = await through(block, current, batches, budget)
      figures.push({ block: name, before: steps[0]?.loss ?? 0, after: await errorOf(next, target) })
      await Promise.all([current.dispose(), wanted.dispose()])
      ;[current, wanted] = [next, target]
      stage.advance()
    }
  } finally {
    stage.end()
    await Promise.all([current.dispose(), wanted.dispose()])
  }
  return figures
}

/** The part of a graph between two values of the stream; masks and positions come from the graph's own inputs. */
function part(graph: Graph, from: Value, to: Value): Graph {
  return between(graph, [from, ...graph.inputs], to)
}

/** What computes a value from others; of these, the ones that it needs. */
function between(graph: Graph, from: readonly Value[], to: Value): Graph {
  const piece = graph.extract(from, [to])
  piece.inputs.splice(0, piece.inputs.length, ...piece.inputs.filter((input) => input.uses.size))
  return piece
}

/** The stream before the first block. */
async function beginning(graph: Graph, first: Value, batches: readonly CalibrationBatch[], budget: number): Promise<ActivationStore> {
  const store = new ActivationStore(budget)
  await runAll(between(graph, graph.inputs, first), batches, async () => ({}), store)
  return store
}

/** What a part makes of kept activations. */
async function through(
  piece: Graph,
  kept: ActivationStore,
  batches: readonly CalibrationBatch[],
  budget: number,
): Promise<ActivationStore> {
  const store = new ActivationStore(budget)
  const [stream] = piece.inputs
  await runAll(piece, batches, async (index) => ({ [stream.name]: await kept.get(index) }), store)
  return store
}

async function runAll(
  piece: Graph,
  batches: readonly CalibrationBatch[],
  more: (index: number) => Promise<Feeds>,
  store: ActivationStore,
): Promise<void> {
  const session = await openGraph(piece, { settings: { 'session.disable_quant_qdq': '1' } })
  try {
    for (const [index, { feeds }] of batches.entries()) {
      const given: Feeds = { ...feeds, ...(await more(index)) }
      const results = await session.run(Object.fromEntries(session.inputs.map(({ name }) => [name, given[name]])))
      const [result] = Object.values(results)
      await store.set(index, result)
      result.dispose()
    }
  } finally {
    await session.dispose()
  }
}

/** The objective that a block gives what is wanted of it. */
function towards(
  block: Graph,
  inputs: ActivationStore,
  targets: ActivationStore,
  batches: readonly CalibrationBatch[],
): Objective<{ index: number }> {
  const [stream, output] = [block.inputs[0].name, block.outputs[0].name]
  const names = new Set(block.inputs.map((input) => input.name))
  return {
    name: 'reconstruction',
    loss(net) {
      const value = net.graph.outputs.find(({ name }) => name === output)!
      return relativeError(net, value, net.input('target', 'float32', value.shape!))
    },
    async batch([{ index }]) {
      const own = Object.entries(batches[index].feeds).filter(([name]) => names.has(name))
      return { ...Object.fromEntries(own), [stream]: await inputs.get(index), target: await targets.get(index) }
    },
  }
}

/** Mean square of the difference over mean square of what was wanted. */
async function errorOf(found: ActivationStore, wanted: ActivationStore): Promise<number> {
  let [difference, power] = [0, 0]
  for (let i = 0; i < wanted.length; i++) {
    const [a, b] = [(await found.get(i)).data as Float32Array, (await wanted.get(i)).data as Float32Array]
    for (let k = 0; k < b.length; k++) {
      difference += (a[k] - b[k]) ** 2
      power += b[k] ** 2
    }
  }
  return power ? difference / power : difference
}
