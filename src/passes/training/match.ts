/** Training against the original: no labels, only what the original computes on calibration data. */
import { blockOutputs } from '../../anatomy/stream.js'
import type { CalibrationBatch } from '../../calibration/calibration.js'
import type { Session } from '../../engine/session.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import { divergence, mean, meanSquare } from '../../nn/losses.js'
import type { Net } from '../../nn/net.js'
import type { Objective } from '../../train/index.js'
import type { PassContext } from '../pass.js'

const prefix = 'original/'

/** A value of the model, and what it is called in the original. */
export interface Matched {
  readonly own: string
  readonly original: string
}

/**
 * Outputs, and outputs of blocks, that a model and its original share.
 *
 * @param blocks with those of the blocks
 */
export function matchedValues(model: Graph, original: Graph, blocks: boolean): Matched[] {
  const isFloat = ({ own }: Matched) => model.value(own)?.dtype === 'float32'
  const outputs = model.outputs.map(({ name }) => ({ own: name, original: name })).filter(({ own }) => !own.startsWith('present'))
  const theirs = blockOutputs(original)
  const inner = [...(blocks ? blockOutputs(model) : [])].flatMap(([block, value]) => {
    const other = theirs.get(block)
    return other ? [{ own: value.name, original: other.name }] : []
  })
  const known = new Set(original.outputs.map((output) => output.name))
  return [...inner, ...outputs.filter(({ original: name }) => known.has(name))].filter(isFloat)
}

/** Opens the original so that it returns what is matched. */
export function openOriginal(original: Graph, matched: readonly Matched[], { open }: Pick<PassContext, 'open'>): Promise<Session> {
  const outputs = new Set(original.outputs.map((output) => output.name))
  return open(original, { observe: matched.map((pair) => pair.original).filter((name) => !outputs.has(name)) })
}

/**
 * The objective that a graph computes what its original computes: Kullback-Leibler divergence for logits, and for other values the
 * mean squared difference over the mean square of the original's.
 *
 * @param original a session of the original, by {@link openOriginal}
 */
export function matchOriginal(original: Session, matched: readonly Matched[]): Objective<CalibrationBatch> {
  return {
    name: 'match-original',
    loss(net) {
      const terms = matched.map(({ own: name }) => {
        const own = net.graph.value(name)!
        const target = net.input(prefix + name, 'float32', own.shape!)
        return name === 'logits' ? mean(net, divergence(net, target, own)) : relativeError(net, own, target)
      })
      return terms.length === 1 ? terms[0] : net.op('Sum', terms)
    },
    async batch([{ feeds }]) {
      const targets = await original.run(feeds, { outputs: [...new Set(matched.map((pair) => pair.original))] })
      return { ...feeds, ...Object.fromEntries(matched.map((pair) => [prefix + pair.own, targets[pair.original]])) }
    },
  }
}

/** mean((x - t)^2) / mean(t^2) */
export function relativeError(net: Net, x: Value, target: Value): Value {
  const power = mean(net, net.op('Mul', [target, target]))
  return net.op('Div', [meanSquare(net, x, target), net.op('Add', [power, net.float(1e-12)])])
}
