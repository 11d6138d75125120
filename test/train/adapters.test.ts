import { beforeAll, describe, expect, test } from 'vitest'
import { anatomyOf } from '../../src/anatomy/index.js'
import { Random } from '../../src/base/random.js'
import { outputsFor, probesOf } from '../../src/calibration/probes.js'
import { openGraph } from '../../src/engine/open.js'
import type { Feeds } from '../../src/engine/session.js'
import type { Graph } from '../../src/ir/graph.js'
import type { Model } from '../../src/ir/model.js'
import { ArrayTensor } from '../../src/ir/tensor.js'
import { tidy } from '../../src/ir/tidy.js'
import { verify } from '../../src/ir/verify.js'
import { mean } from '../../src/nn/losses.js'
import { type NDArray, ndarray, numbersOf, sizeOf } from '../../src/numbers/dtype.js'
import { importModel } from '../../src/raise/import.js'
import { type AdapterOptions, adapterFrom, adapterNames, adapterOptions, onlyGroups } from '../../src/train/adapters/index.js'
import type { Objective } from '../../src/train/objective.js'
import { sgd } from '../../src/train/optimizers/sgd.js'
import { schedule } from '../../src/train/schedules.js'
import { train } from '../../src/train/trainer.js'
import { smallModel, tinyBertModel, tinyLlamaModel } from '../support/checkpoints.js'
import { type Golden, goldens } from '../support/goldens.js'
import { farthest } from '../support/graphs.js'

const golden = (name: string): Golden | undefined => goldens().find((each) => each.name === name)

/** Golden checkpoints, or small random models where they are absent. */
const subjectOf = (name: string, small: () => Model) => async () => {
  const found = golden(name)
  return (found ? (await importModel(found.folder)).model : small()).graph
}
const subjects: Record<string, () => Promise<Graph>> = {
  bert: subjectOf('bert', () => tinyBertModel(1)),
  llama: subjectOf('llama', () => tinyLlamaModel(1)),
  gpt2: subjectOf('gpt2', () => smallModel('gpt2', 'GPT2LMHeadModel')),
}
const names = Object.keys(subjects)

const outputsOf = (graph: Graph, feeds: readonly Feeds[]) => outputsFor(feeds, openGraph(graph, { threads: 1 }))

/** The largest difference between the outputs of two graphs, relative to the largest output. */
async function distance(got: Graph, expected: Graph, feeds = probesOf(expected, 1)): Promise<number> {
  const [a, b] = [await outputsOf(got, feeds), await outputsOf(expected, feeds)]
  return Math.max(...b.map((outputs, i) => farthest(a[i], outputs)))
}

/** Moves parameters away from where they began. */
async function disturb(graph: Graph, parameters: readonly string[], deviation: number): Promise<void> {
  for (const name of parameters) {
    const constant = graph.constants.get(name)!
    const values = (await constant.tensor!.read()) as Float32Array
    const noise = new Random(9, name).normals(values.length, deviation)
    graph.setTensor(
      constant,
      new ArrayTensor(
        'float32',
        constant.tensor!.shape,
        values.map((x, i) => x + noise[i]),
      ),
    )
  }
}

const insert = (graph: Graph, options: AdapterOptions) => adapterFrom(options).insert(graph, new Random(1))
const count = (graph: Graph, parameters: readonly string[]) =>
  parameters.reduce((sum, name) => sum + sizeOf(graph.constants.get(name)!.tensor!.shape), 0)

/** Options that every subject can take: DoRA takes packed linears whole. */
function optionsFor(subject: string, name: (typeof adapterNames)[number]): AdapterOptions {
  const more = {
    lora: { rank: 3 },
    dora: { rank: 3 },
    ia3: {},
    bottleneck: { width: 5 },
    'prompt-tuning': { length: 4 },
    'prefix-tuning': { length: 4 },
  }
  return adapterOptions.parse({
    name,
    ...more[name],
    ...(name === 'dora' && subject === 'gpt2' && { roles: ['qkv', 'o', 'up', 'down'] }),
  })
}

describe.each(names)('%s', (subject) => {
  let original: Graph
  beforeAll(async () => {
    original = await subjects[subject]()
  })

  test.each(['lora', 'dora', 'ia3', 'bottleneck'] as const)('%s leaves the function as it is at first', async (name) => {
    const graph = original.clone()
    insert(graph, optionsFor(subject, name))
    verify(graph)
    expect(graph.size).toBeGreaterThan(original.size)
    expect(await distance(graph, original)).toBeLessThan(name === 'dora' ? 2e-5 : 1e-6)
  })

  test.each(['lora', 'dora', 'ia3'] as const)('%s is merged exactly, and the graph is what it was', async (name) => {
    const options = optionsFor(subject, name)
    const graph = original.clone()
    const parameters = insert(graph, options)
    await disturb(graph, parameters, 0.2)
    const merged = graph.clone()
    expect(adapterFrom(options).merge(merged)).toBeGreaterThan(0)
    verify(merged)
    expect(await distance(graph, original)).toBeGreaterThan(1e-3)
    expect(await distance(merged, graph)).toBeLessThan(2e-5)
    const plain = original.clone()
    tidy(plain)
    tidy(merged)
    const operators = (each: Graph) =>
      [...each.nodes()].map((node) => `${node.type} ${node.name} ${node.inputs.map((input) => input?.name)}`)
    expect(operators(merged)).toEqual(operators(plain))
    expect([...merged.constants.keys()].sort()).toEqual([...plain.constants.keys()].sort())
  })

  test.each(['bottleneck', 'prompt-tuning', 'prefix-tuning'] as const)('%s runs, and says why it cannot be merged', async (name) => {
    const options = optionsFor(subject, name)
    const graph = original.clone()
    const parameters = insert(graph, options)
    verify(graph)
    await disturb(graph, parameters, 0.2)
    const feeds = probesOf(original, 1)
    const [plain, adapted] = [await outputsOf(original, feeds), await outputsOf(graph, feeds)]
    plain.forEach((outputs, i) => {
      for (const [output, array] of Object.entries(outputs)) expect(adapted[i][output].shape).toEqual(array.shape)
      expect(farthest(adapted[i], outputs)).toBeGreaterThan(1e-3)
    })
    expect(() => adapterFrom(options).merge(graph)).toThrowError(expect.objectContaining({ code: 'unsupported' }))
  })

  test.each(adapterNames)('%s alone is trained', async (name) => {
    const graph = original.clone()
    const parameters = insert(graph, optionsFor(subject, name))
    const first = graph.outputs[0].name
    const objective: Objective<Feeds> = {
      name: 'mean of squares',
      loss: (net) => mean(net, net.op('Mul', [net.graph.value(first)!, net.graph.value(first)!])),
      batch: async ([feeds]) => feeds,
    }
    const before = new Map(await Promise.all([...graph.constants].map(async ([key, { tensor }]) => [key, await tensor!.array()] as const)))
    const { steps } = await train(graph, objective, [probesOf(graph, 1)[0]], {
      steps: 2,
      batchSize: 1,
      learningRate: 0.01,
      schedule: schedule('constant', { warmup: 0 }),
      optimizer: sgd(),
      groups: onlyGroups(parameters),
      seed: 1,
      threads: 1,
    })
    expect(steps[1].loss).toBeLessThan(steps[0].loss)
    for (const [key, { tensor }] of graph.constants) {
      const changed = !same(await tensor!.array(), before.get(key)!)
      if (!parameters.includes(key)) expect(changed, key).toBe(false)
    }
    const moved = await Promise.all(parameters.map(async (key) => !same(await graph.constants.get(key)!.tensor!.array(), before.get(key)!)))
    expect(moved.filter(Boolean).length).toBeGreaterThan(0)
  })
})

function same(a: NDArray, b: NDArray): boolean {
  const [x, y] = [numbersOf(a), numbersOf(b)]
  return x.length === y.length && x.every((value, i) => value === y[i])
}

describe('numbers of parameters', () => {
  const [layers, width, inner, kv] = [2, 32, 48, 16]
  const graphOf = (name: string) => subjects[name]()
  const parametersOf = async (name: string, options: AdapterOptions) => {
    const graph = await graphOf(name)
    return count(graph, insert(graph, options))
  }

  test.skipIf(!golden('bert') || !golden('llama'))('are those of the formulas', async () => {
    const { blocks } = anatomyOf(await graphOf('llama'))
    expect(blocks.length).toBe(layers)
    expect([blocks[0].linears.get('q')!.inputs, blocks[0].linears.get('k')!.outputs, blocks[0].linears.get('up')!.outputs]).toEqual([
      width,
      kv,
      inner,
    ])
    expect(await parametersOf('llama', { name: 'lora', rank: 3 })).toBe(layers * 3 * (2 * width + width + kv))
    expect(await parametersOf('llama', { name: 'dora', rank: 3, roles: ['q', 'v'] })).toBe(layers * (3 * (3 * width + kv) + width + kv))
    expect(await parametersOf('llama', { name: 'ia3' })).toBe(layers * (kv + kv + inner))
    expect(await parametersOf('llama', { name: 'prefix-tuning', length: 4 })).toBe(layers * 4 * 2 * kv)
    expect(await parametersOf('llama', { name: 'prompt-tuning', length: 4 })).toBe(4 * width)
    const adapters = (m: number) => layers * 2 * (2 * m * width + m + width)
    expect(await parametersOf('bert', { name: 'bottleneck', width: 5, norms: false })).toBe(adapters(5))
    expect(await parametersOf('bert', { name: 'bottleneck', width: 5 })).toBe(adapters(5) + layers * 2 * 2 * width)
  })
})

describe('prompts and prefixes mean what they say', () => {
  const [length, rows] = [4, 6]
  const draw = new Random(3, 'tokens')
  const tokens = Array.from({ length: length + rows }, () => draw.integer(30))
  const ids = (list: readonly number[]) => ndarray('int64', [1, list.length], list)
  const filled = (size: number, value: (i: number) => number) => ids(Array.from({ length: size }, (_, i) => value(i)))

  const llama = () => tinyLlamaModel(1).graph
  /** Feeds of a decoder: tokens, those before them in the cache, and the position of the first. */
  const decoderFeeds = (
    graph: Graph,
    list: readonly number[],
    pasts: Readonly<Record<string, NDArray>> | null,
    pastLength: number,
    position: number,
  ): Feeds => ({
    input_ids: ids(list),
    attention_mask: filled(pastLength + list.length, () => 1),
    position_ids: filled(list.length, (i) => position + i),
    ...Object.fromEntries(
      graph.inputs
        .filter((input) => input.name.startsWith('past'))
        .map((input) => {
          const [, heads, , size] = input.shape as readonly number[]
          return [input.name, pasts?.[input.name.replace('past_key_values', 'present')] ?? ndarray('float32', [1, heads, 0, size], [])]
        }),
    ),
  })
  const runOn = async (graph: Graph, feeds: Feeds) => (await outputsOf(graph, [feeds]))[0]
  const lastRows = (array: NDArray, from: number): NDArray => {
    const width = array.shape[2]
    return ndarray('float32', [1, array.shape[1] - from, width], numbersOf(array).slice(from * width))
  }

  test('a prompt of the vectors of tokens does what the tokens do in front of a decoder, also with a cache', async () => {
    const plain = llama()
    const graph = llama()
    insert(graph, { name: 'prompt-tuning', length })
    const { table, width } = anatomyOf(plain).embeddings[0]
    const vectors = (await table.tensor!.read()) as Float32Array
    const prompt = tokens.slice(0, length).flatMap((token) => [...vectors.subarray(token * width, (token + 1) * width)])
    graph.setTensor(graph.constants.get('prompt.weight')!, new ArrayTensor('float32', [length, width], Float32Array.from(prompt)))
    const expected = await runOn(plain, decoderFeeds(plain, tokens, null, 0, 0))
    const first = await runOn(graph, decoderFeeds(graph, tokens.slice(length, -1), null, 0, 0))
    expect(farthest({ logits: first.logits }, { logits: beforeLast(lastRows(expected.logits, length)) })).toBeLessThan(2e-5)
    const next = await runOn(graph, decoderFeeds(graph, tokens.slice(-1), first, rows - 1, rows - 1))
    expect(farthest({ logits: next.logits }, { logits: lastRows(expected.logits, length + rows - 1) })).toBeLessThan(2e-5)
  })

  test('a prompt of the vectors of tokens does what the tokens do beside those of an encoder', async () => {
    const plain = tinyBertModel(1).graph
    const graph = plain.clone()
    const feeds = (list: readonly number[]): Feeds => ({
      input_ids: ids(list),
      attention_mask: filled(list.length, () => 1),
      token_type_ids: filled(list.length, () => 0),
    })
    const stream = anatomyOf(plain).blocks[0].linears.get('q')!.input
    const session = await openGraph(plain, { observe: [stream.name] })
    const whole = await session.run(feeds(tokens))
    await session.dispose()
    const width = Number(stream.shape![2])
    insert(graph, { name: 'prompt-tuning', length })
    graph.setTensor(
      graph.constants.get('prompt.weight')!,
      new ArrayTensor('float32', [length, width], Float32Array.from(numbersOf(whole[stream.name]).slice(rows * width))),
    )
    const got = await runOn(graph, feeds(tokens.slice(0, rows)))
    const expected = ndarray('float32', [1, rows, width], numbersOf(whole['last_hidden_state']).slice(0, rows * width))
    expect(farthest({ x: got['last_hidden_state'] }, { x: expected })).toBeLessThan(2e-5)
  })

  test('a prefix of the keys and values of tokens does what the tokens do in front of a decoder, also with a cache', async () => {
    const plain = llama()
    const graph = llama()
    insert(graph, { name: 'prefix-tuning', length })
    const pasts = await runOn(plain, decoderFeeds(plain, tokens.slice(0, length), null, 0, 0))
    for (const [i, { name }] of anatomyOf(plain).blocks.entries())
      for (const part of ['key', 'value']) {
        const present = pasts[`present.${i}.${part}`]
        const [, heads, , size] = present.shape
        const values = numbersOf(present)
        const data = Float32Array.from({ length: length * heads * size }, (_, at) => {
          const [token, head, channel] = [Math.floor(at / heads / size), Math.floor(at / size) % heads, at % size]
          return values[(head * length + token) * size + channel]
        })
        graph.setTensor(graph.constants.get(`${name}.prefix_${part}`)!, new ArrayTensor('float32', [length, heads * size], data))
      }
    const expected = await runOn(plain, decoderFeeds(plain, tokens, null, 0, 0))
    const first = await runOn(graph, decoderFeeds(graph, tokens.slice(length, -1), null, 0, length))
    expect(farthest({ logits: first.logits }, { logits: beforeLast(lastRows(expected.logits, length)) })).toBeLessThan(2e-5)
    const next = await runOn(graph, decoderFeeds(graph, tokens.slice(-1), first, rows - 1, length + rows - 1))
    expect(farthest({ logits: next.logits }, { logits: lastRows(expected.logits, length + rows - 1) })).toBeLessThan(2e-5)
  })

  test("a prefix of an encoder's own keys and values, each seen twice then, changes nothing", async () => {
    const plain = tinyBertModel(1).graph
    const graph = plain.clone()
    insert(graph, { name: 'prefix-tuning', length: rows })
    const feeds: Feeds = {
      input_ids: ids(tokens.slice(0, rows)),
      attention_mask: filled(rows, () => 1),
      token_type_ids: filled(rows, () => 0),
    }
    const { blocks } = anatomyOf(plain)
    const observed = blocks.flatMap(({ mixer }) => [mixer.key.name, mixer.value.name])
    const session = await openGraph(plain, { observe: observed })
    const outputs = await session.run(feeds)
    await session.dispose()
    for (const { name, mixer } of blocks)
      for (const [part, value] of [
        ['key', mixer.key],
        ['value', mixer.value],
      ] as const)
        graph.setTensor(
          graph.constants.get(`${name}.prefix_${part}`)!,
          new ArrayTensor('float32', outputs[value.name].shape.slice(1), Float32Array.from(numbersOf(outputs[value.name]))),
        )
    const got = await runOn(graph, feeds)
    expect(farthest({ x: got['last_hidden_state'] }, { x: outputs['last_hidden_state'] })).toBeLessThan(2e-5)
  })

  function beforeLast(array: NDArray): NDArray {
    const [, length1, width] = array.shape
    return ndarray('float32', [1, length1 - 1, width], numbersOf(array).slice(0, (length1 - 1) * width))
  }
})

describe('what cannot be adapted is refused', () => {
  test('roles that no block has, with those that there are', () => {
    expect(() => insert(tinyBertModel(1).graph, { name: 'lora', roles: ['gate'] })).toThrowError(
      expect.objectContaining({ code: 'bad-input', hint: 'Roles of this graph: q, k, v, o, up, down.' }),
    )
  })

  test('parts of packed linears for DoRA', () => {
    expect(() => insert(smallModel('gpt2', 'GPT2LMHeadModel').graph, { name: 'dora', roles: ['q'] })).toThrowError(/takes linears whole/)
  })

  test('options of another adapter', () => {
    expect(adapterOptions.safeParse({ name: 'ia3', rank: 2 }).success).toBe(false)
  })
})
