import { anatomyOf, type Block, isResidual, reached, throughCarriers } from '../../anatomy/index.js'
import { blockOutputs } from '../../anatomy/stream.js'
import { unsupported } from '../../base/errors.js'
import type { Random } from '../../base/random.js'
import { int } from '../../ir/attribute.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import { ArrayTensor, LazyTensor, type Tensor } from '../../ir/tensor.js'
import type { Net } from '../../nn/net.js'
import type { Adapter } from './adapter.js'
import { attentionSites, forBatch, prependToCache, settle, tokensBefore, tokensFrom, WiderMasks } from './attention-keys.js'
import { adapt, netAt } from './places.js'

export interface PromptTuningOptions {
  /** Vectors in front of the tokens. */
  readonly length?: number
}

/**
 * Prompt tuning: learned vectors in front of the tokens where they enter the first block, without learned positions; rotary
 * positions count them. What comes out of the last block is that of the tokens alone. Decoders with a cache run the prompt
 * again in every step and give the cache back without it. The vectors begin as rows of the table of tokens. Attentions
 * are spelled out.
 *
 * Source: Lester et al. 2021, The Power of Scale for Parameter-Efficient Prompt Tuning, sections 2 and 3.2.
 *
 * @example
 * const names = promptTuning({ length: 20 }).insert(graph, new Random(1))
 */
export function promptTuning({ length = 20 }: PromptTuningOptions = {}): Adapter {
  return {
    name: 'prompt-tuning',
    summary: 'learned vectors in front of the tokens; stays in the graph',
    source: 'Lester et al. 2021, sections 2 and 3.2',
    insert(graph, random) {
      const sites = attentionSites(graph)
      const { blocks } = anatomyOf(graph)
      const net = netAt(graph, 'prompt')
      const entry = entryOf(blocks[0])
      const exit = blockOutputs(graph).get(blocks.at(-1)!.name)
      if (!exit) throw unsupported(`the stream after ${blocks.at(-1)!.name} is not known, and a prompt cannot be taken out of it`)
      const prompt = net.constant('prompt.weight', firstVectors(graph, length, Number(entry.shape!.at(-1)), random))
      adapt(graph, entry, () => net.op('Concat', [forBatch(net, prompt, entry), entry], { axis: int(1) }))
      adapt(graph, exit, () => tokensFrom(net, exit, length))
      shiftPositions(graph, net, length)
      const masks = new WiderMasks(net, length, true)
      for (const site of sites) {
        const { node } = site
        if (node.input(4)) {
          const own = [1, 2].map((i) => node.input(i)!)
          prependToCache(
            graph,
            net,
            site,
            own.map((value) => tokensBefore(net, value, length)),
            length,
          )
          own.forEach((value, i) => void node.setInput(1 + i, tokensFrom(net, value, length)))
        }
        masks.widen(node)
      }
      settle(graph, sites)
      return [prompt.name]
    },
    merge() {
      throw unsupported('a prompt is a longer input and cannot be merged into weights', { hint: 'Write the graph as it is.' })
    },
  }
}

/** The residual stream in front of a block: what its attention's output is added to. */
function entryOf({ name, linears }: Block): Value {
  const o = linears.get('o')
  const sum = o && reached(o.output).find(isResidual)
  const entry = sum?.inputs.find((input) => throughCarriers(input!, (value) => value === o!.output) !== o!.output)
  if (!entry) throw unsupported(`the stream in front of ${name} is not known, and a prompt cannot be put into it`)
  return entry
}

/** Rotary positions count the prompt: 0, 1 ... for it, and those of the tokens after that. */
function shiftPositions(graph: Graph, net: Net, length: number): void {
  const made = new Map<Value, Value>()
  for (const node of [...graph.nodes()].filter(({ type }) => type === 'RotaryEmbedding')) {
    const positions = node.input(3)
    if (positions?.shape?.length !== 2) throw unsupported(`${node.name} has no positions [batch, tokens], and a prompt cannot shift them`)
    if (!made.has(positions)) {
      const own = forBatch(net, net.ints(Array.from({ length }, (_, i) => i)), positions)
      made.set(positions, net.op('Concat', [own, net.op('Add', [positions, net.ints(length)])], { axis: int(1) }))
    }
    node.setInput(3, made.get(positions)!)
  }
}

/** Rows of the table of tokens, where it is as wide as the stream; else uniform numbers within +-sqrt(3 / width). */
function firstVectors(graph: Graph, length: number, width: number, random: Random): Tensor {
  const draw = random.stream('prompt')
  const embedding = anatomyOf(graph).embeddings.find((each) => each.width === width)
  const tensor = embedding?.table.tensor
  if (!tensor) {
    const bound = Math.sqrt(3 / width)
    const values = Float32Array.from({ length: length * width }, () => (2 * draw.uniform() - 1) * bound)
    return new ArrayTensor('float32', [length, width], values)
  }
  const rows = Array.from({ length }, () => draw.integer(embedding.rows))
  return new LazyTensor('float32', [length, width], async () => {
    const values = (await tensor.read()) as Float32Array
    return Float32Array.from({ length: length * width }, (_, i) => values[rows[Math.floor(i / width)] * width + (i % width)])
  })
}
