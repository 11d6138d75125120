import { describe, expect, it } from 'vitest'
import { MemorySource } from '../../src/base/bytes.js'
import type { Progress } from '../../src/base/progress.js'
import { ndarray, numbersOf } from '../../src/numbers/dtype.js'
import { agreement, classification, languageModel, spearman, sts, tokenClassification } from '../../src/tasks/index.js'
import { byteTokenizer, FakeSession, pipelineOf, port, textPorts, words } from '../pipelines/fakes.js'

const file = (text: string, name = 'file.csv') => new MemorySource(new TextEncoder().encode(text), name)

/** Vectors by the first word of a text. */
const embedder = (vectors: Record<string, [number, number]>) =>
  new FakeSession(textPorts, [port('sentence_embedding', ['b', 2], 'float32')], ({ input_ids: ids }) => ({
    sentence_embedding: ndarray(
      'float32',
      [ids.shape[0], 2],
      Array.from({ length: ids.shape[0] }, (_, row) => vectors[words[Number(ids.data[row * ids.shape[1] + 1])]]).flat(),
    ),
  }))

describe('sts', () => {
  const session = embedder({ a: [1, 0], b: [1, 1], c: [0, 2], d: [-1, 0] })

  it('correlates cosines with scores and embeds each text once', async () => {
    const { samples } = await sts.samples(file('a,b,3\na,c,4\na,d,0.5\nb,c,5\na,a,5\n'))
    const stages: string[] = []
    let done = 0
    const progress: Progress = {
      stage: (name, total) => {
        stages.push(`${name} ${total}`)
        return {
          advance(by = 1) {
            done += by
          },
          end: () => void stages.push('end'),
        }
      },
      warn() {},
      info() {},
    }
    const { metrics, samples: count, baselines } = await sts.evaluate(pipelineOf(session), samples, { progress })
    const cosines = [Math.SQRT1_2, 0, -1, Math.SQRT1_2, 1]
    expect(metrics['spearman']).toBeCloseTo(100 * spearman(cosines, [3, 4, 0.5, 5, 5]), 6)
    expect([count, baselines]).toEqual([5, {}])
    expect(session.runs.flatMap((feeds) => feeds['input_ids'].shape[0])).toEqual([4])
    expect([stages, done]).toEqual([['embed 4', 'end'], 4])
  })

  it('needs two texts and a number', async () => {
    await expect(sts.samples(file('a,b\n'))).rejects.toMatchObject({ code: 'bad-input' })
  })
})

describe('classification', () => {
  /** Says class 0 of texts that begin with a, else 1. */
  const session = new FakeSession(textPorts, [port('logits', ['b', 2], 'float32')], ({ input_ids: ids }) => ({
    logits: ndarray(
      'float32',
      [ids.shape[0], 2],
      Array.from({ length: ids.shape[0] }, (_, row) => (Number(ids.data[row * ids.shape[1] + 1]) === 4 ? [1, 0] : [0, 1])).flat(),
    ),
  }))
  const config = { id2label: { 0: 'NEG', 1: 'POS' }, label2id: { NEG: 0, POS: 1 } }

  it('measures beside the majority class, labels by index or name', async () => {
    const figures = {
      samples: 4,
      metrics: { accuracy: 75, macroF1: 100 * ((0.8 + 2 / 3) / 2) },
      baselines: { accuracy: 75, macroF1: 100 * (0.5 * (6 / 7)) },
    }
    for (const text of ['0 a\n0 a b\n1 b\n0 c\n', 'neg a\n']) {
      const named = text.startsWith('neg')
      const { samples } = named
        ? await classification.samples(file('a,neg\na b,NEG\nb,POS\nc,neg\n'))
        : await classification.samples(file(text, 'x.txt'))
      const found = await classification.evaluate(pipelineOf(session, { config }), samples)
      expect(found.samples).toBe(figures.samples)
      expect(found.metrics['accuracy']).toBe(75)
      expect(found.metrics['macroF1']).toBeCloseTo(figures.metrics.macroF1, 10)
      expect(found.baselines['accuracy']).toBe(75)
      expect(found.baselines['macroF1']).toBeCloseTo(figures.baselines.macroF1, 10)
    }
  })

  it('names a label that the model lacks', async () => {
    const { samples } = await classification.samples(file('a,good\n'))
    await expect(classification.evaluate(pipelineOf(session, { config }), samples)).rejects.toMatchObject({
      message: 'the label "good" is none of the model\'s',
    })
    await expect(classification.evaluate(pipelineOf(session), [{ texts: ['a'], label: 2 }])).rejects.toMatchObject({ code: 'bad-input' })
  })
})

/** Says of each byte that the next is the same with this probability, others equally. */
function repeater(probability: number): FakeSession {
  const logits = [port('logits', ['b', 's', 257], 'float32')]
  return new FakeSession(textPorts, logits, ({ input_ids: ids }) => {
    const rest = Math.log((1 - probability) / 256)
    const data = [...numbersOf(ids)].flatMap((id) =>
      Array.from({ length: 257 }, (_, next) => 3 + (next === id ? Math.log(probability) : rest)),
    )
    return { logits: ndarray('float32', [1, ids.shape[1], 257], data) }
  })
}

const generator = (probability: number) =>
  pipelineOf(repeater(probability), { tokenizer: byteTokenizer(), config: { architectures: ['LlamaForCausalLM'] } })

describe('language-model', () => {
  it('scores the tokens of each window from the second on', async () => {
    const { samples } = await languageModel.samples(file(`${'a'.repeat(8)}${'ab'.repeat(4)}rest`))
    const { metrics, samples: windows } = await languageModel.evaluate(generator(0.5), samples, { tokens: 18, window: 8 })
    const nats = 7 * Math.log(2) + 7 * Math.log(512)
    expect(windows).toBe(2)
    expect(metrics['loss']).toBeCloseTo(nats / 14, 5)
    expect(metrics['perplexity']).toBeCloseTo(Math.exp(nats / 14), 3)
    expect(metrics['bitsPerByte']).toBeCloseTo(nats / 14 / Math.LN2, 5)
  })

  it('takes a short text as one window', async () => {
    const { samples } = await languageModel.samples(file('aaa'))
    expect((await languageModel.evaluate(generator(0.5), samples)).metrics['perplexity']).toBeCloseTo(2, 5)
  })

  it('refuses windows that the model cannot read, empty files and models that do not predict', async () => {
    const { samples } = await languageModel.samples(file('aaa'))
    await expect(languageModel.evaluate(generator(0.5), samples, { window: 2000 })).rejects.toMatchObject({ code: 'usage' })
    await expect(languageModel.evaluate(generator(0.5), samples, { tokens: 1 })).rejects.toMatchObject({ code: 'bad-input' })
    await expect(languageModel.samples(file(' \n'))).rejects.toMatchObject({ code: 'bad-input' })
    await expect(languageModel.evaluate(pipelineOf(embedder({})), samples)).rejects.toMatchObject({ code: 'bad-input' })
  })
})

describe('agreement', () => {
  it('compares vectors by cosine', async () => {
    const before = pipelineOf(embedder({ a: [1, 0], b: [0, 1] }))
    const after = pipelineOf(embedder({ a: [2, 0], b: [1, 1] }))
    const { samples } = await agreement.samples(file('a\nb\n', 'x.txt'), before)
    const { metrics } = await agreement.evaluate(before, after, samples)
    expect(metrics['cosine']).toBeCloseTo((1 + Math.SQRT1_2) / 2, 6)
    expect(metrics['cosineLow']).toBeCloseTo(Math.SQRT1_2 + 0.01 * (1 - Math.SQRT1_2), 6)
  })

  it('compares predictions by divergence and the likeliest token', async () => {
    const [before, after] = [generator(0.5), generator(0.25)]
    const { samples } = await agreement.samples(file('abab', 'x.txt'), before)
    const { metrics } = await agreement.evaluate(before, after, samples, { window: 4 })
    expect(metrics['kl']).toBeCloseTo(0.5 * Math.log(2) + 0.5 * Math.log(2 / 3), 5)
    expect(metrics['top1']).toBe(100)
    expect((await agreement.evaluate(before, before, samples)).metrics['kl']).toBeCloseTo(0, 12)
  })
})

describe('token-classification', () => {
  const labels = ['O', 'B-PER', 'I-PER', 'B-LOC']
  const labelOf: Record<string, number> = { ada: 1, lovelace: 2, paris: 3 }
  const session = new FakeSession(textPorts, [port('logits', ['b', 's', 4], 'float32')], ({ input_ids: ids }) => ({
    logits: ndarray(
      'float32',
      [...ids.shape, 4],
      [...numbersOf(ids)].flatMap((id) => labels.map((_, label) => ((labelOf[words[id]] ?? 0) === label ? 9 : 0))),
    ),
  }))

  it('reads CoNLL lines and scores spans', async () => {
    const { samples } = await tokenClassification.samples(
      file('-DOCSTART- O\n\nAda NN B-PER\nLovelace NN I-PER\nin IN O\nParis NN B-LOC\n\nbe NN B-LOC\n', 'x.txt'),
    )
    expect(samples).toHaveLength(2)
    const config = { id2label: Object.fromEntries(labels.map((label, i) => [i, label])) }
    const { metrics, baselines } = await tokenClassification.evaluate(pipelineOf(session, { config }), samples)
    expect(metrics['f1']).toBeCloseTo(80, 10)
    expect(metrics['accuracy']).toBe(80)
    expect(baselines['accuracy']).toBe(40)
  })

  it('reads JSON lines', async () => {
    const { samples } = await tokenClassification.samples(file('{"tokens": ["Ada", "ran"], "tags": ["B-PER", "O"]}\n', 'x.jsonl'))
    expect(samples).toEqual([{ texts: ['Ada ran'], label: 'B-PER O' }])
    for (const broken of ['{"tokens": ["Ada"], "tags": []}', '{"tokens": ["A da"], "tags": ["O"]}', '{"tokens": 1}', '{'])
      await expect(tokenClassification.samples(file(broken, 'x.jsonl'))).rejects.toThrow(/line 1 is no sentence/)
  })

  it('names the line without a label', async () => {
    await expect(tokenClassification.samples(file('Ada\n', 'x.txt'))).rejects.toMatchObject({
      message: 'line 1 has one column where a word and its label are expected',
    })
  })
})
