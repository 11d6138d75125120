import { badInput } from '../../base/errors.js'
import { Random } from '../../base/random.js'
import type { Value } from '../../ir/node.js'
import { ArrayTensor } from '../../ir/tensor.js'
import { divergence, mean, relationLoss, relationScores, squaredDifference, times, weightedMean } from '../../nn/losses.js'
import { firstToken, paddingMask } from '../../nn/masks.js'
import type { Net } from '../../nn/net.js'
import { type AttentionMap, type BlockValues, blocksOf, type LayerMap, type Projections, pairBlocks, uniformLayers } from './blocks.js'
import type { DistillationTerm, TermFactory } from './distillation.js'
import { tokenWeights, valueNamed } from './graph-values.js'

export interface LogitsOptions {
  /** Divides the logits of both; the loss is multiplied by its square. Default 1. */
  readonly temperature?: number
}

/**
 * The divergence of the student's softmax from the teacher's, T^2 KL(teacher / T || student / T): the mean over samples, or over the
 * tokens that are no padding.
 *
 * Source: Hinton et al. 2015, section 2.
 */
export function fromLogits({ temperature = 1 }: LogitsOptions = {}): TermFactory {
  if (!(temperature > 0)) throw badInput(`the temperature ${temperature} is not above 0`)
  return ({ student, teacher }) => {
    const [own, other] = [student, teacher].map((graph) => graph.outputs.find(({ name }) => name === 'logits'))
    if (!own?.shape || !other?.shape) throw badInput(`the ${own ? 'teacher' : 'student'} has no output logits`)
    const [classes, known] = [own.shape.at(-1), other.shape.at(-1)]
    if (classes !== known || own.shape.length !== other.shape.length)
      throw badInput(`the student's logits are [${own.shape.join(', ')}] and the teacher's [${other.shape.join(', ')}]`, {
        hint: 'Both must tell the same classes apart, or the same tokens.',
      })
    return {
      values: [other],
      loss(net, given) {
        const logits = valueNamed(net.graph, own.name)
        const [wanted, found] = [given(other, logits), logits].map((each) => times(net, each, 1 / temperature))
        const rows = divergence(net, wanted, found)
        const weights = logits.shape!.length === 3 ? tokenWeights(net) : null
        return times(net, weights ? weightedMean(net, rows, weights) : mean(net, rows), temperature ** 2)
      },
    }
  }
}

export interface HiddenStatesOptions {
  /** Default: {@link uniformLayers}. */
  readonly layers?: LayerMap
  /** Which tokens: all that are no padding, or the first of each text. Default `all`. */
  readonly tokens?: 'all' | 'first'
  /** The mean of the squared differences of a token's vector, or their sum. Default `mean`. */
  readonly reduction?: 'mean' | 'sum'
  /** Decides the first values of projections. Default 0. */
  readonly seed?: number
}

/**
 * The squared difference of hidden states after mapped layers, the mean over layers and tokens. Where the widths differ, a learned
 * projection takes the student's to the teacher's.
 *
 * Source: FitNets (Romero et al. 2015); TinyBERT (Jiao et al. 2020), section 3.
 */
export function fromHiddenStates({ layers, tokens = 'all', reduction = 'mean', seed = 0 }: HiddenStatesOptions = {}): TermFactory {
  return ({ student, teacher }) => {
    const [own, others] = [blocksOf(student), blocksOf(teacher)]
    const pairs = pairBlocks(own, others, layers ?? uniformLayers(own.length, others.length)).map(([block, other]) => ({
      name: `projection/${block.name}/${other.name}`,
      own: block.hidden(),
      other: other.hidden(),
    }))
    const projections = new Map(
      pairs.flatMap(({ name, own, other }) => (widthOf(own) === widthOf(other) ? [] : [[name, projection(own, other, name, seed)]])),
    )
    return {
      values: pairs.map(({ other }) => other),
      parameters: projections,
      loss(net, given) {
        const losses = pairs.map(({ name, own, other }) => {
          const hidden = valueNamed(net.graph, own.name)
          const matrix = projections.get(name)
          const projected = matrix ? net.op('MatMul', [hidden, net.constant(name, matrix)]) : hidden
          const [found, wanted] = [projected, given(other, hidden)].map((each) => (tokens === 'first' ? firstToken(net, each) : each))
          const squares = squaredDifference(net, found, wanted)
          const rows = net.op(reduction === 'mean' ? 'ReduceMean' : 'ReduceSum', [squares, net.ints([-1])], {
            keepdims: { kind: 'int', value: 0 },
          })
          const weights = tokens === 'all' ? tokenWeights(net) : null
          return weights ? weightedMean(net, rows, weights) : mean(net, rows)
        })
        return averaged(net, losses)
      },
    }
  }
}

function projection(own: Value, other: Value, name: string, seed: number): ArrayTensor {
  const [from, to] = [widthOf(own), widthOf(other)]
  return new ArrayTensor('float32', [from, to], new Random(seed, name).normals(from * to, 1 / Math.sqrt(from)))
}

/** Two of the projections of an attention, whose vectors are related to each other. */
export type RelationPair = readonly [keyof Projections, keyof Projections]

export interface RelationsOptions {
  /** Default 2. */
  readonly version?: 1 | 2
  /** Version 2: relation heads, which must divide the widths of both models. Default: the student's attention heads. */
  readonly heads?: number
  /** Version 2. Default Q-Q, K-K and V-V. */
  readonly pairs?: readonly RelationPair[]
  /** The layers that are compared. Default: the last of both. */
  readonly layers?: LayerMap
}

/**
 * MiniLM: the divergence of relations between tokens. Version 2 relates queries, keys and values among themselves in any number of
 * heads; version 1 is the attention itself and V-V in the heads of the attention, of which both models must have as many.
 * The sum over the pairs, the mean over layers, heads, tokens and texts.
 *
 * Source: Wang et al. 2020, section 3 (version 1); Wang et al. 2021, section 3 (version 2). Projections are taken before
 * rotation; causal models relate to what they see.
 */
export function fromRelations({ version = 2, heads, pairs, layers = [[-1, -1]] }: RelationsOptions = {}): TermFactory {
  if (version === 1 && (heads !== undefined || pairs)) throw badInput('version 1 of MiniLM has the heads and pairs of the attention')
  return ({ student, teacher }) => {
    const blocks = pairBlocks(blocksOf(student), blocksOf(teacher), layers)
    const compared = blocks.flatMap(([own, other]) => {
      const relations = version === 1 ? valueRelations(own, other) : projectionRelations(own, other, heads, pairs)
      return relations.map((relation) => ({ ...relation, mask: own.mask }))
    })
    const attention = version === 1 ? fromAttention({ layers })({ student, teacher }) : null
    return {
      values: [...compared.flatMap(({ other }) => [...other.values]), ...(attention?.values ?? [])],
      loss(net, given) {
        const losses = compared.map((relation) => relationTerm(net, relation, given))
        const total = times(net, added(net, losses), 1 / blocks.length)
        return attention ? net.op('Add', [total, attention.loss(net, given)]) : total
      },
    }
  }
}

export interface AttentionOptions {
  /** Default: {@link uniformLayers}. */
  readonly layers?: LayerMap
}

/**
 * The divergence of attention probabilities in mapped layers, the mean over layers, heads, tokens and texts. Both models must have
 * as many heads.
 */
export function fromAttention({ layers }: AttentionOptions = {}): TermFactory {
  return ({ student, teacher }) => {
    const [own, others] = [blocksOf(student), blocksOf(teacher)]
    const compared = pairBlocks(own, others, layers ?? uniformLayers(own.length, others.length)).map(([block, other]) => {
      const [found, wanted] = [block.attention(), other.attention()]
      requireEqualHeads(found.heads, wanted.heads)
      return { own: relationOfAttention(found), other: relationOfAttention(wanted), mask: block.mask }
    })
    return {
      values: compared.flatMap(({ other }) => [...other.values]),
      loss: (net, given) =>
        averaged(
          net,
          compared.map((relation) => relationTerm(net, relation, given)),
        ),
    }
  }
}

/** Two values of one model and the heads that they are related in. */
interface Relation {
  readonly values: readonly [Value, Value]
  readonly heads: readonly [number, number]
}

interface ComparedRelation {
  readonly own: Relation
  readonly other: Relation
  readonly mask: Value | null
}

function relationTerm(net: Net, { own, other, mask }: ComparedRelation, given: Parameters<DistillationTerm['loss']>[1]): Value {
  const found = own.values.map((value) => valueNamed(net.graph, value.name))
  const wanted = other.values.map((value, i) => given(value, found[i]))
  const visible = mask ? valueNamed(net.graph, mask.name) : paddingOf(net)
  const [estimate, target] = [
    relationScores(net, found[0], found[1], own.heads, visible),
    relationScores(net, wanted[0], wanted[1], other.heads, visible),
  ]
  return relationLoss(net, target, estimate, tokenWeights(net))
}

function paddingOf(net: Net): Value | null {
  const mask = net.graph.value('attention_mask')
  return mask ? paddingMask(net, mask) : null
}

function relationOfAttention({ query, key, heads, kvHeads }: AttentionMap): Relation {
  return { values: [query, key], heads: [heads, kvHeads] }
}

/** V-V in the heads of the attention. */
function valueRelations(own: BlockValues, other: BlockValues): Omit<ComparedRelation, 'mask'>[] {
  const [found, wanted] = [own.attention(), other.attention()]
  requireEqualHeads(found.kvHeads, wanted.kvHeads)
  const relation = (block: BlockValues): Relation => {
    const { v } = block.projections()
    return { values: [v, v], heads: [found.kvHeads, found.kvHeads] }
  }
  return [{ own: relation(own), other: relation(other) }]
}

const usualPairs: readonly RelationPair[] = [
  ['q', 'q'],
  ['k', 'k'],
  ['v', 'v'],
]

function projectionRelations(
  own: BlockValues,
  other: BlockValues,
  heads: number = own.attention().heads,
  pairs: readonly RelationPair[] = usualPairs,
): Omit<ComparedRelation, 'mask'>[] {
  const relation = (block: BlockValues, [x, y]: RelationPair, whose: string): Relation => {
    const projections = block.projections()
    const values = [projections[x], projections[y]] as const
    if (widthOf(values[0]) !== widthOf(values[1]))
      throw badInput(`${x} and ${y} of the ${whose} have the widths ${widthOf(values[0])} and ${widthOf(values[1])} and cannot be related`)
    if (!Number.isInteger(heads) || heads < 1 || widthOf(values[0]) % heads)
      throw badInput(`${heads} relation heads do not divide the width ${widthOf(values[0])} of the ${whose}'s ${x}`, { hint: 'Set heads.' })
    return { values, heads: [heads, heads] }
  }
  return pairs.map((pair) => ({ own: relation(own, pair, 'student'), other: relation(other, pair, 'teacher') }))
}

function requireEqualHeads(student: number, teacher: number): void {
  if (student === teacher) return
  throw badInput(`the student has ${student} heads and the teacher ${teacher}, so that their attention cannot be compared`, {
    hint: 'Compare relations of version 2, which may have any number of heads.',
  })
}

function widthOf(value: Value): number {
  const width = value.shape?.at(-1)
  if (typeof width === 'number') return width
  throw badInput(`the width of ${value.name} is not known`)
}

function added(net: Net, losses: readonly Value[]): Value {
  return losses.reduce((total, loss) => net.op('Add', [total, loss]))
}

function averaged(net: Net, losses: readonly Value[]): Value {
  return times(net, added(net, losses), 1 / losses.length)
}
