/** Losses of classification spelled out by simpler operators. */
import { int } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import { ndarray } from '../../numbers/dtype.js'
import { range } from '../support.js'
import type { Expansion, GradientBuilder } from './rule.js'
import { castLike, divide, integers, multiply, negate, shapeOf, sumOver, unsqueeze, where } from './terms.js'

/** Minus the log probability of each target [batch, ...], weighted and reduced as the node says. */
function negativeLogLikelihood(g: GradientBuilder, node: Node, logProbabilities: Value): Value {
  const [targets, weights, ignored] = [node.inputs[1]!, node.input(2), node.int('ignore_index')]
  const integer = (value: number): Value => g.constant(ndarray(targets.dtype ?? 'int64', [], [value]))
  const counted = ignored === undefined ? null : g.op('Not', [g.op('Equal', [targets, integer(ignored)])])
  const labels = counted ? g.op('Where', [counted, targets, integer(0)]) : targets
  const found = g.op('GatherElements', [logProbabilities, unsqueeze(g, labels, 1)], { axis: int(1) })
  const all = negate(g, g.op('Squeeze', [found, integers(g, [1])]))
  const losses = counted ? where(g, counted, all) : all
  const flags = counted && castLike(g, counted, losses)
  const gathered = weights && g.op('Gather', [weights, labels])
  const weight = gathered && flags ? multiply(g, gathered, flags) : (gathered ?? flags)
  const weighted = gathered ? multiply(g, losses, gathered) : losses
  const reduction = node.string('reduction', 'mean')
  if (reduction === 'none') return weighted
  const total = (x: Value): Value => sumOver(g, x, range(shapeOf(x).length), false)
  if (reduction === 'sum') return total(weighted)
  return weight ? divide(g, total(weighted), total(weight)) : g.op('ReduceMean', [losses], { keepdims: int(0) })
}

export const negativeLogLikelihoodLoss: Expansion = {
  expand: (node, g) => [negativeLogLikelihood(g, node, node.inputs[0]!)],
}

export const softmaxCrossEntropyLoss: Expansion = {
  expand(node, g) {
    const logProbabilities = g.op('LogSoftmax', [node.inputs[0]!], { axis: int(1) })
    return [negativeLogLikelihood(g, node, logProbabilities), logProbabilities]
  },
}
