import { describe, expect, it } from 'vitest'
import { MemoryFolder, writeFile } from '../../src/base/bytes.js'
import { type NDArray, ndarray, numbersOf, sizeOf } from '../../src/numbers/dtype.js'
import { labelSpans, load, onnxFiles, positionsOf, textFeeds } from '../../src/pipelines/index.js'
import { FakeSession, pipelineOf, port, textPorts, wordPieceConfig, wordPieceDefinition, words } from './fakes.js'

function fill(shape: number[], value: (index: number[]) => number): NDArray {
  const data = Array.from({ length: sizeOf(shape) }, (_, flat) => {
    const index: number[] = []
    for (let axis = shape.length - 1, rest = flat; axis >= 0; rest = Math.floor(rest / shape[axis--])) index.unshift(rest % shape[axis])
    return value(index)
  })
  return ndarray('float32', shape, data)
}

/** Token vectors [id, 1]; padding has what would spoil a mean. */
const encoder = () =>
  new FakeSession(
    textPorts,
    [port('last_hidden_state', ['batch_size', 'sequence_length', 2], 'float32')],
    ({ input_ids: ids, attention_mask: mask }) => ({
      last_hidden_state: fill([...ids.shape, 2], ([row, at, k]) => {
        const flat = row * ids.shape[1] + at
        return Number(mask.data[flat]) ? (k ? 1 : Number(ids.data[flat])) : 1e6
      }),
    }),
  )

const classifier = (labels: number) =>
  new FakeSession(textPorts, [port('logits', ['batch_size', labels], 'float32')], ({ input_ids: ids }) => ({
    logits: fill([ids.shape[0], labels], ([row, label]) => (Number(ids.data[row * ids.shape[1] + 1]) === 4 + label ? 2 : 0)),
  }))

describe('embed', () => {
  const texts = ['a', 'a b c d a b', 'b', 'a b c', '']
  const plain = { modes: ['mean'], dense: [], normalize: false } as const
  const idsOf = (text: string) => [
    2,
    ...text
      .split(' ')
      .filter(Boolean)
      .map((word) => words.indexOf(word)),
    3,
  ]

  it('gives vectors in the order of the texts, the same in any batch', async () => {
    for (const batchSize of [1, 2, 32]) {
      const session = encoder()
      const vectors = await pipelineOf(session, { pooling: plain }).embed(texts, { batchSize })
      texts.forEach((text, i) => {
        const ids = idsOf(text)
        expect(vectors[i][0]).toBeCloseTo(ids.reduce((sum, id) => sum + id, 0) / ids.length, 5)
        expect(vectors[i][1]).toBe(1)
      })
      expect(session.made.every((output) => output.disposed)).toBe(true)
    }
  })

  it('pads each batch to its own longest text, the longest batch first', async () => {
    const session = encoder()
    const done: number[] = []
    await pipelineOf(session).embed(texts, { batchSize: 2, onBatch: (count) => done.push(count) })
    expect(session.runs.map((feeds) => feeds['input_ids'].shape)).toEqual([
      [2, 8],
      [2, 3],
      [1, 2],
    ])
    expect(done).toEqual([2, 2, 1])
  })

  it("takes the graph's own sentence embedding where there is one", async () => {
    const outputs = [port('token_embeddings', ['b', 's', 2], 'float32'), port('sentence_embedding', ['b', 2], 'float32')]
    const session = new FakeSession(textPorts, outputs, ({ input_ids: ids }) => ({
      sentence_embedding: fill([ids.shape[0], 2], ([row]) => row + 0.5),
    }))
    expect((await pipelineOf(session).embed(['a', 'b'])).map((vector) => [...vector])).toEqual([
      [0.5, 0.5],
      [1.5, 1.5],
    ])
  })

  it('stops when the signal fires and says what it cannot do', async () => {
    await expect(pipelineOf(encoder()).embed(texts, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'interrupted' })
    await expect(pipelineOf(classifier(2)).embed(texts)).rejects.toMatchObject({
      code: 'bad-input',
      hint: 'It has logits [batch_size, 2].',
    })
    expect(await pipelineOf(encoder()).embed([])).toEqual([])
  })
})

describe('classify', () => {
  const config = { id2label: { 0: 'first', 1: 'second' } }

  it('gives all labels, the best first, by softmax', async () => {
    const found = await pipelineOf(classifier(2), { config }).classify(['a c', ['b', 'c d']])
    const high = Math.exp(2) / (Math.exp(2) + 1)
    expect(found.map((list) => list.map(({ label }) => label))).toEqual([
      ['first', 'second'],
      ['second', 'first'],
    ])
    expect(found[0][0].score).toBeCloseTo(high, 6)
    expect(found[0][1].score).toBeCloseTo(1 - high, 6)
  })

  it('uses a sigmoid for each label of multi-label models, and raw numbers for regression', async () => {
    const several = await pipelineOf(classifier(2), { config: { problem_type: 'multi_label_classification' } }).classify(['a'])
    expect(several[0].map(({ label }) => label)).toEqual(['LABEL_0', 'LABEL_1'])
    expect(several[0].map(({ score }) => score)).toEqual([1 / (1 + Math.exp(-2)), 0.5])
    expect((await pipelineOf(classifier(1), { config: { problem_type: 'regression' } }).classify(['a']))[0][0].score).toBe(2)
  })
})

describe('findEntities', () => {
  const labels = ['O', 'B-PER', 'I-PER', 'B-LOC']
  const labelOf: Record<string, number> = { ada: 1, lovelace: 2, paris: 3 }
  const tagger = () =>
    new FakeSession(textPorts, [port('logits', ['batch_size', 'sequence_length', 4], 'float32')], ({ input_ids: ids }) => ({
      logits: fill([...ids.shape, 4], ([row, at, label]) =>
        (labelOf[words[Number(ids.data[row * ids.shape[1] + at])]] ?? 0) === label ? 9 : 0,
      ),
    }))
  const config = { id2label: Object.fromEntries(labels.map((label, i) => [i, label])) }

  it('finds spans with their places in the text', async () => {
    const text = 'Ada Lovelace was in Paris, a.'
    const [entities, none] = await pipelineOf(tagger(), { config }).findEntities([text, 'a b'])
    expect(entities.map(({ label, text: part, start, end }) => [label, part, start, end])).toEqual([
      ['PER', 'Ada Lovelace', 0, 12],
      ['LOC', 'Paris', 20, 25],
    ])
    expect(entities[0].score).toBeGreaterThan(0.99)
    expect(none).toEqual([])
  })

  it('joins labels into spans', () => {
    expect(labelSpans(['I-A', 'I-A', 'B-A', 'I-B', 'O', 'C', 'C'])).toEqual([
      { label: 'A', first: 0, last: 1 },
      { label: 'A', first: 2, last: 2 },
      { label: 'B', first: 3, last: 3 },
      { label: 'C', first: 5, last: 6 },
    ])
  })
})

describe('textFeeds', () => {
  const text = { input_ids: ndarray('int64', [1, 2], [4, 5]), attention_mask: ndarray('int64', [1, 2], [1, 1]) }
  const session = (...ports: ReturnType<typeof port>[]) => new FakeSession(ports, [], () => ({}))

  it('gives exactly the inputs of the graph, in their dtypes', () => {
    const feeds = textFeeds(
      session(port('input_ids', ['b', 's'], 'int32'), port('token_type_ids', ['b', 's']), port('use_cache_branch', [1], 'bool')),
      text,
    )
    expect(feeds['input_ids']).toEqual({ dtype: 'int32', shape: [1, 2], data: Int32Array.of(4, 5) })
    expect([...numbersOf(feeds['token_type_ids'])]).toEqual([0, 0])
    expect(Object.keys(feeds)).toHaveLength(3)
  })

  it('names an input that text cannot give', () => {
    expect(() => textFeeds(session(port('pixel_values', ['b', 3, 224, 224], 'float32')), text)).toThrow(
      'the model wants the input pixel_values',
    )
  })

  it('counts positions from the first token, wherever the padding is', () => {
    const mask = ndarray('int64', [2, 4], [0, 0, 1, 1, 1, 1, 1, 0])
    expect([...numbersOf(positionsOf(mask, 4))]).toEqual([0, 0, 0, 1, 0, 1, 2, 0])
    expect([...numbersOf(positionsOf(mask, 1))]).toEqual([1, 0])
  })
})

describe('load', () => {
  const folder = async (...names: string[]) => {
    const files = new MemoryFolder(new Map(), 'bert')
    for (const name of names) await writeFile(files, name, '{}')
    return files
  }
  const opened: string[] = []
  const openSession = async (path: string) => {
    opened.push(path)
    return encoder()
  }

  it('opens the file of the dtype, fp32 by default, else the first there is', async () => {
    const files = await folder('onnx/model.onnx', 'onnx/model_quantized.onnx', 'onnx/model_q4f16.onnx', 'onnx/model.onnx_data')
    await load(files, { openSession })
    await load(files, { openSession, dtype: 'q4f16' })
    await load(await folder('onnx/model_quantized.onnx'), { openSession })
    await load(await folder('model.onnx'), { openSession })
    expect(opened).toEqual(['onnx/model.onnx', 'onnx/model_q4f16.onnx', 'onnx/model_quantized.onnx', 'model.onnx'])
    expect((await onnxFiles(files)).map(({ dtype }) => dtype)).toEqual(['fp32', 'q8', 'q4f16'])
    await expect(load(files, { openSession, dtype: 'fp16' })).rejects.toMatchObject({ code: 'bad-input', hint: 'It has fp32, q8, q4f16.' })
  })

  it('misses the tokenizer only when text comes', async () => {
    const files = await folder('onnx/model.onnx')
    const pipeline = await load(files, { openSession })
    await expect(pipeline.embed(['a'])).rejects.toMatchObject({
      code: 'bad-input',
      message: 'the model has no tokenizer.json, which texts need',
    })
    await writeFile(files, 'tokenizer.json', JSON.stringify(wordPieceDefinition))
    await writeFile(files, 'tokenizer_config.json', JSON.stringify(wordPieceConfig))
    expect(Math.hypot(...(await (await load(files, { openSession })).embed(['a']))[0])).toBeCloseTo(1, 6)
  })

  it('knows what a model is for', () => {
    expect(pipelineOf(encoder()).kind).toBe('embed')
    expect(pipelineOf(classifier(3)).kind).toBe('classify')
    expect(pipelineOf(encoder(), { config: { architectures: ['BertForTokenClassification'] } }).kind).toBe('classify-tokens')
    expect(pipelineOf(encoder(), { config: { architectures: ['LlamaForCausalLM'] } }).kind).toBe('generate')
  })
})
