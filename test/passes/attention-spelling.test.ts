import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { anatomyOf } from '../../src/anatomy/index.js'
import { Random } from '../../src/base/random.js'
import type { Feeds } from '../../src/engine/session.js'
import { float, int } from '../../src/ir/attribute.js'
import type { Graph } from '../../src/ir/graph.js'
import { Model } from '../../src/ir/model.js'
import { printGraph } from '../../src/ir/print.js'
import { tidy } from '../../src/ir/tidy.js'
import { verify } from '../../src/ir/verify.js'
import { expansionObstacle } from '../../src/nn/attention-spelling.js'
import { Net } from '../../src/nn/net.js'
import { ndarray, sizeOf } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { raise } from '../../src/raise/index.js'
import { encoderOf } from '../support/blocks.js'
import { tinyBertModel, tinyLlamaModel } from '../support/checkpoints.js'
import { distanceOf, farthest } from '../support/graphs.js'
import { apply } from '../support/passes.js'

interface Form {
  readonly kvHeads: number
  readonly group: number
  readonly size: number
  readonly valueSize: number
  readonly tokens: number
  readonly past: number
  readonly present: boolean
  readonly scale: number | undefined
  readonly softcap: number
  readonly mask: 'none' | 'padding' | 'rows' | 'heads' | 'added'
  readonly seed: number
}

const forms: fc.Arbitrary<Form> = fc.record({
  kvHeads: fc.integer({ min: 1, max: 3 }),
  group: fc.integer({ min: 1, max: 3 }),
  size: fc.integer({ min: 1, max: 6 }),
  valueSize: fc.integer({ min: 1, max: 6 }),
  tokens: fc.integer({ min: 2, max: 5 }),
  past: fc.constantFrom(0, 0, 3),
  present: fc.boolean(),
  scale: fc.constantFrom(undefined, 1, 0.3),
  softcap: fc.constantFrom(0, 0, 2),
  mask: fc.constantFrom('none', 'padding', 'rows', 'heads', 'added'),
  seed: fc.nat(),
})

/** An attention alone, and feeds for it. */
function attentionOf(form: Form): { graph: Graph; feeds: Feeds } {
  const { kvHeads, group, size, valueSize, tokens, past, present, scale, softcap, mask } = form
  const [heads, keys, batch] = [kvHeads * group, tokens + past, 2]
  const net = new Net(undefined, undefined, 'block.attention')
  const random = new Random(form.seed, 'attention')
  const feeds: Record<string, ReturnType<typeof ndarray>> = {}
  const input = (name: string, symbols: readonly (string | number)[], shape: readonly number[]) => {
    feeds[name] = ndarray('float32', shape, random.stream(name).normals(sizeOf(shape), 2))
    return net.input(name, 'float32', symbols)
  }
  const [q, k, v] = [heads * size, kvHeads * size, kvHeads * valueSize].map((width, i) =>
    input('qkv'[i], ['batch', 'tokens', width], [batch, tokens, width]),
  )
  const shapes = {
    none: [],
    padding: [batch, 1, 1, keys],
    rows: [tokens, keys],
    heads: [1, heads, tokens, keys],
    added: [batch, 1, tokens, keys],
  }
  const shape = shapes[mask]
  const place = shape.map((dim, i) => (dim === 1 ? 1 : `mask_${i}`))
  let masking = null
  if (mask === 'added') masking = input('mask', place, shape)
  else if (mask !== 'none') {
    masking = net.input('mask', 'bool', place)
    const hidden = random.stream('mask')
    feeds['mask'] = ndarray(
      'bool',
      shape,
      Array.from({ length: sizeOf(shape) }, (_, i) => (i % keys === 0 || hidden.integer(3) ? 1 : 0)),
    )
  }
  const pasts = past
    ? [size, valueSize].map((each, i) => input(`past_${i}`, ['batch', kvHeads, 'past', each], [batch, kvHeads, past, each]))
    : []
  const outputs = net.ops('Attention', masking || past ? [q, k, v, masking, ...pasts] : [q, k, v], {
    attributes: {
      q_num_heads: int(heads),
      kv_num_heads: int(kvHeads),
      ...(scale === undefined || scale === 1 / Math.sqrt(size) ? {} : { scale: float(scale) }),
      ...(softcap ? { softcap: float(softcap) } : {}),
    },
    outputs: past || present ? ['attention', 'present_key', 'present_value'] : ['attention'],
  })
  net.output('y', net.op('Relu', [outputs[0]]))
  if (present) net.graph.outputs.push(outputs[1], outputs[2])
  tidy(net.graph)
  return { graph: net.graph, feeds }
}

async function respelled(graph: Graph, pass: 'expand-attention' | 'fuse-attention'): Promise<Graph> {
  const copy = graph.clone()
  await apply(new Model([['model', copy]]), pass)
  tidy(copy)
  verify(copy)
  return copy
}

describe('attention has two spellings', () => {
  it('the expanded one computes the same, and fusing it gives the fused one back', async () => {
    await fc.assert(
      fc.asyncProperty(forms, async (form) => {
        const { graph, feeds } = attentionOf(form)
        const expanded = await respelled(graph, 'expand-attention')
        expect([...expanded.nodes()].map(({ type }) => type)).not.toContain('Attention')
        expect(farthest(await evaluateGraph(expanded, feeds), await evaluateGraph(graph, feeds))).toBeLessThanOrEqual(2e-5)
        expect(printGraph(await respelled(expanded, 'fuse-attention'))).toBe(printGraph(graph))
      }),
      { numRuns: 150 },
    )
  })

  it.each([
    ['an encoder', () => tinyBertModel(1)],
    ['a decoder with a cache', () => tinyLlamaModel(1)],
    ['a decoder with one key head', () => tinyLlamaModel(2, { heads: 3, kvHeads: 1 })],
  ] as const)('%s', async (_, build) => {
    const { graph } = build()
    const expanded = await respelled(graph, 'expand-attention')
    expect(await distanceOf(expanded, graph)).toBeLessThanOrEqual(2e-5)
    expect(printGraph(await respelled(expanded, 'fuse-attention'))).toBe(printGraph(graph))
    raise(expanded)
    expect(printGraph(expanded)).toBe(printGraph(graph))
  })

  it.each([
    ['an encoder', () => tinyBertModel(1)],
    ['a decoder with a cache', () => tinyLlamaModel(1)],
  ] as const)('%s has the same anatomy in both', async (_, build) => {
    const { graph } = build()
    const outline = (of: Graph) =>
      anatomyOf(of).blocks.map(({ name, linears, norms, mixer }) => ({
        name,
        linears: [...linears].map(([role, linear]) => [role, linear.name]),
        norms: norms.map((norm) => norm.name),
        heads: [mixer.heads, mixer.kvHeads],
      }))
    expect(outline(await respelled(graph, 'expand-attention'))).toEqual(outline(graph))
  })

  it.each(['Add', 'Where', 'none'] as const)('what others spelled out fuses too, mask: %s', async (mask) => {
    const graph = encoderOf({ attention: 'expanded', mask })
    const fused = await respelled(graph, 'fuse-attention')
    expect([...fused.nodes()].filter(({ type }) => type === 'Attention')).toHaveLength(2)
    expect(await distanceOf(fused, graph)).toBeLessThanOrEqual(2e-5)
  })

  it('what somebody else reads is not fused away', async () => {
    const { graph } = tinyBertModel(1)
    const expanded = await respelled(graph, 'expand-attention')
    const [first] = [...expanded.nodes()].filter(({ type }) => type === 'Softmax')
    expanded.outputs.push(first.output)
    const fused = await respelled(expanded, 'fuse-attention')
    expect([...fused.nodes()].filter(({ type }) => type === 'Softmax')).toHaveLength(1)
    expect(await distanceOf(fused, expanded)).toBeLessThanOrEqual(2e-5)
  })

  it('half precision keeps its dtype and its text', async () => {
    const model = tinyBertModel(3)
    await apply(model, 'float16')
    tidy(model.graph)
    const expanded = await respelled(model.graph, 'expand-attention')
    expect([...expanded.nodes()].find(({ type }) => type === 'Softmax')!.output.dtype).toBe('float16')
    expect(printGraph(await respelled(expanded, 'fuse-attention'))).toBe(printGraph(model.graph))
  })

  it('says what it leaves as it is', async () => {
    const { graph } = attentionOf({
      kvHeads: 1,
      group: 1,
      size: 4,
      valueSize: 4,
      tokens: 3,
      past: 0,
      present: false,
      scale: 1,
      softcap: 0,
      mask: 'none',
      seed: 1,
    })
    const [node] = graph.nodes()
    node.setAttribute('is_causal', int(1))
    expect(expansionObstacle(node)).toMatch(/attribute/)
    const { changed, refused } = await apply(new Model([['model', graph]]), 'expand-attention')
    expect([changed, refused]).toEqual([0, [{ what: 'block.attention', why: expansionObstacle(node) }]])
  })
})
