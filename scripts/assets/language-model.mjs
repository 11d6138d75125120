/** A small Llama that writes glosses. */
import { Random } from '../../dist/base/random.js'
import { evaluate } from '../../dist/commands/evaluate.js'
import { architectureOf, freshGraphs } from '../../dist/models/index.js'
import { Tokenizer } from '../../dist/pipelines/index.js'
import { causalLanguageModel } from '../../dist/train/objectives/causal-language-model.js'
import { schedule } from '../../dist/train/schedules.js'
import { bytePairConfig, bytePairEncoder, lineBreak, trainBytePairs } from './byte-pairs.mjs'
import { NGrams } from './n-grams.mjs'
import { grouped } from './objectives.mjs'
import { addDocuments, chosen, writeModel } from './run.mjs'
import { wordnetLicence, wordnetSplits } from './wordnet.mjs'

const seed = 1
const vocabulary = 2048
/** Tokens that the model reads, in training and in evaluations. */
const positions = 128
const batchSize = 8
const epochs = 5
/** Train has 18 times as many glosses as dev and test: dealt into so many hands, its glosses lie as far apart as theirs. */
const hands = 18
const sampleRuns = { count: 10, glosses: 25 }
const order = 5

const config = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  vocab_size: vocabulary,
  hidden_size: 128,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  intermediate_size: 256,
  hidden_act: 'silu',
  max_position_embeddings: positions,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  attention_bias: false,
  mlp_bias: false,
  initializer_range: 0.06,
}

const random = new Random(seed)

/** Glosses in the order of the dictionary, one a line. */
const textOf = (glosses) => `${glosses.map(({ gloss }) => gloss).join('\n')}\n`

/** All glosses, dealt at random into hands that keep the order of the dictionary, one hand after the other. */
function dealt(glosses, stream) {
  const dealer = random.stream(stream)
  const piles = Array.from({ length: hands }, () => [])
  for (const gloss of glosses) piles[dealer.integer(hands)].push(gloss)
  return piles.flat()
}

function windowsOf(ids) {
  return Array.from({ length: Math.floor(ids.length / positions) }, (_, i) => ({ ids: ids.slice(i * positions, (i + 1) * positions) }))
}

/** Stretches of neighbouring glosses from all over the dictionary. */
function runsOf(glosses, { count, glosses: length }) {
  return Array.from({ length: count }, (_, i) => Math.floor((i * glosses.length) / count)).flatMap((at) => glosses.slice(at, at + length))
}

/** The loss of the n-gram model over the tokens that the task scores, with the factor on the discounts that is best on dev. */
function gramLosses(train, dev, test) {
  const grams = new NGrams(train, { vocabulary, order })
  const isScored = (at) => at % positions > 0
  const whole = (ids) => ids.slice(0, ids.length - (ids.length % positions))
  const lossOf = (ids, scale) => grams.loss(whole(ids), isScored, scale) / ((whole(ids).length / positions) * (positions - 1))
  const tried = [0.9, 1, 1.1].map((scale) => ({ scale, dev: lossOf(dev, scale) }))
  const best = tried.reduce((a, b) => (b.dev < a.dev ? b : a))
  return { order, ...best, test: lossOf(test, best.scale) }
}

/** From nats a token to what does not depend on the vocabulary. */
function figuresOf(loss, ids, text) {
  const words = text.split(/\s+/).filter(Boolean).length
  return {
    loss,
    perplexity: Math.exp(loss),
    wordPerplexity: Math.exp((loss * ids.length) / words),
    bitsPerByte: (loss * ids.length) / Math.LN2 / new TextEncoder().encode(text).length,
  }
}

/** Trains the language model into a folder and measures it. */
export async function languageModel(run, folder) {
  const splits = wordnetSplits()
  const texts = { train: textOf(splits.train), dev: textOf(splits.dev), test: textOf(splits.test) }
  const definition = await run.remember('vocabulary', () => trainBytePairs(texts.train, { size: vocabulary }))
  const settings = bytePairConfig(positions)
  const tokenizer = new Tokenizer(definition, settings, { maxLength: positions })
  const idsOf = bytePairEncoder(tokenizer)
  const ids = Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, idsOf(text)]))
  const deals = Array.from({ length: epochs }, (_, epoch) => idsOf(textOf(dealt(splits.train, `epoch ${epoch}`))))
  const samples = deals.flatMap(windowsOf)

  const graph = freshGraphs(architectureOf(config), config, random).get('model')
  await run.train('training', graph, grouped(causalLanguageModel({ tokenizer, graph, config })), samples, {
    steps: Math.floor(samples.length / batchSize),
    batchSize,
    seed,
    learningRate: 3e-3,
    schedule: schedule('cosine', { warmup: 0.03, floor: 0.02 }),
    weightDecay: 0.1,
  })
  const grams = await run.remember('5-grams', () => gramLosses(ids.train, ids.dev, ids.test))

  const lineEnd = definition.model.vocab[lineBreak]
  const size = await writeModel(folder, { ...config, bos_token_id: lineEnd, eos_token_id: lineEnd, pad_token_id: 0 }, graph, {
    'generation_config.json': { bos_token_id: lineEnd, eos_token_id: lineEnd, pad_token_id: 0 },
    'tokenizer.json': definition,
    'tokenizer_config.json': settings,
    'samples.txt': textOf(runsOf(splits.dev, sampleRuns)),
    'calibration.txt': textOf(chosen(splits.train, 128, random.stream('calibration'))),
    LICENSE: wordnetLicence(),
  })
  addDocuments(run.folder, { 'dev.txt': texts.dev, 'test.txt': texts.test })
  const lossOn = async (file) => (await evaluate(folder, `language-model=${file}`)).metrics.loss
  const figures = async (name) => figuresOf(await lossOn(run.path(`${name}.txt`)), ids[name], texts[name])
  const sampled = (await evaluate(folder, `language-model=${folder}/samples.txt`)).metrics
  return {
    task: 'language-model',
    metric: 'perplexity',
    better: 'lower',
    tolerance: 1,
    test: await figures('test'),
    dev: await figures('dev'),
    samples: { file: 'samples.txt', count: sampleRuns.count * sampleRuns.glosses, ...sampled },
    baselines: { fiveGrams: { ...figuresOf(grams.test, ids.test, texts.test), discountScale: grams.scale } },
    counts: Object.fromEntries(Object.entries(splits).map(([name, { length: count }]) => [name, count])),
    ...size,
    seed,
  }
}
