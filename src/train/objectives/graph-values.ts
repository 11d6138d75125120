/** What objectives look up in a model's graph, by name, so that they find it in copies too. */
import { badInput } from '../../base/errors.js'
import { int } from '../../ir/attribute.js'
import type { Dim } from '../../ir/dimension.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import type { Net } from '../../nn/net.js'
import type { DType } from '../../numbers/dtype.js'

/**
 * The first of the named outputs that a graph has, of the rank asked for.
 *
 * @throws TinsmithError `bad-input` that names what the graph has instead
 */
export function outputOf(graph: Graph, purpose: string, names: readonly string[], rank: number): Value {
  const found = names
    .map((name) => graph.outputs.find((output) => output.name === name && output.shape?.length === rank))
    .find((output) => output)
  if (found) return found
  throw badInput(`the model cannot be trained for ${purpose}: it has no output ${names.join(' or ')} of rank ${rank}`, {
    hint: `It has ${graph.outputs.map(({ name, shape }) => `${name} [${shape?.join(', ')}]`).join(', ')}.`,
  })
}

/** How many classes (or tokens of a vocabulary) an output of logits tells apart. */
export function classesOf(logits: Value): number {
  const classes = logits.shape?.at(-1)
  if (typeof classes === 'number' && classes > 1) return classes
  throw badInput(`the output ${logits.name} has ${classes ?? 'an unknown number of'} classes and training needs at least 2`)
}

/**
 * An input that the loss adds; objectives on one graph share those of one name.
 *
 * @throws TinsmithError `bad-input` when another objective has an input of that name for something else
 */
export function sharedInput(net: Net, name: string, dtype: DType, shape: readonly Dim[]): Value {
  const known = net.graph.inputs.find((input) => input.name === name)
  if (!known) return net.input(name, dtype, shape)
  if (known.dtype === dtype && known.shape?.length === shape.length) return known
  throw badInput(`two objectives want different ${name}: ${known.dtype} [${known.shape?.join(', ')}] and ${dtype} [${shape.join(', ')}]`)
}

/** The value of that name. */
export function valueNamed(graph: Graph, name: string): Value {
  const value = graph.value(name)
  if (value) return value
  throw badInput(`the graph has no value ${name}: it is not the graph that the objective was made for`)
}

/** 1 for tokens and 0 for padding, float32 [batch, tokens]; null where the graph takes no mask. */
export function tokenWeights(net: Net): Value | null {
  const mask = net.graph.value('attention_mask')
  return mask ? net.op('Cast', [mask], { to: int(1) }) : null
}
