/** An encoder that says which lexicographer file of WordNet a gloss belongs to. */
import { Random } from '../../dist/base/random.js'
import { evaluate } from '../../dist/commands/evaluate.js'
import { architectureOf, freshGraphs } from '../../dist/models/index.js'
import { Tokenizer } from '../../dist/pipelines/index.js'
import { classification } from '../../dist/train/objectives/classification.js'
import { maskedLanguageModel } from '../../dist/train/objectives/masked-language-model.js'
import { schedule } from '../../dist/train/schedules.js'
import { bagOfWords } from './bag-of-words.mjs'
import { grouped, groupsByLength, withHiddenTokens } from './objectives.mjs'
import { addDocuments, chosen, csv, majorityShare, writeModel } from './run.mjs'
import { trainWordPieces, wordPieceConfig, wordPieceIds, wordsOf } from './word-pieces.mjs'
import { lexicographerFiles, wordnetLicence, wordnetSplits } from './wordnet.mjs'

const seed = 1
const positions = 64
const vocabulary = 8000
/** Tokens that training sees of a gloss. */
const length = 36
const group = 64
const epochs = 4
/** How much the guesses of hidden tokens count beside the class. */
const hiddenWeight = 0.5
const sampleCount = 400

const config = {
  model_type: 'bert',
  architectures: ['BertForSequenceClassification'],
  vocab_size: vocabulary,
  hidden_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  intermediate_size: 256,
  hidden_act: 'gelu',
  max_position_embeddings: positions,
  type_vocab_size: 2,
  layer_norm_eps: 1e-12,
  initializer_range: 0.02,
  pad_token_id: 0,
  id2label: Object.fromEntries(lexicographerFiles.map((name, i) => [String(i), name])),
  label2id: Object.fromEntries(lexicographerFiles.map((name, i) => [name, i])),
}
const random = new Random(seed)
const freshGraph = (from) => freshGraphs(architectureOf(from), from, random).get('model')

async function trainedGraph(run, tokenizer, glosses) {
  const ids = wordPieceIds(
    tokenizer,
    glosses.map(({ gloss }) => gloss),
    length - 2,
  )
  const samples = glosses.map(({ label }, i) => ({ ids: ids[i], label }))
  const groups = groupsByLength(samples, { size: group, epochs, seed })
  const graph = freshGraph(config)
  const classes = classification({ tokenizer, graph, config, maxLength: length, labelSmoothing: 0.05 })
  const masked = { ...config, architectures: ['BertForMaskedLM'] }
  const hidden = maskedLanguageModel({ tokenizer, graph: freshGraph(masked), config: masked, maxLength: length })
  await run.train('training', graph, grouped(withHiddenTokens(classes, hidden, hiddenWeight)), groups, {
    steps: groups.length,
    batchSize: 1,
    seed,
    learningRate: 2e-3,
    schedule: schedule('linear', { warmup: 0.05 }),
    weightDecay: 0.02,
    average: 0.998,
  })
  return graph
}

const table = (glosses) => csv([['text', 'label'], ...glosses.map(({ gloss, label }) => [gloss, lexicographerFiles[label]])])

/** Trains the classifier into a folder and measures it. */
export async function classifier(run, folder) {
  const splits = wordnetSplits()
  const texts = splits.train.map(({ gloss }) => gloss)
  const definition = await run.remember('vocabulary', () => trainWordPieces(texts, { size: vocabulary, least: 5 }))
  const settings = wordPieceConfig(positions)
  const graph = await trainedGraph(run, new Tokenizer(definition, settings, { maxLength: positions }), splits.train)
  const rows = (glosses) => glosses.map(({ gloss, label }) => ({ words: wordsOf(gloss), label }))
  const linear = await run.remember('bag-of-words', () => {
    const words = { train: rows(splits.train), dev: rows(splits.dev), test: rows(splits.test) }
    return bagOfWords(words, lexicographerFiles.length, { penalties: [1e-6, 5e-7, 2e-7], epochs: 16, least: 2 })
  })
  const size = await writeModel(folder, config, graph, {
    'tokenizer.json': definition,
    'tokenizer_config.json': settings,
    'samples.csv': table(chosen(splits.dev, sampleCount, random.stream('samples'))),
    'calibration.txt': `${chosen(texts, 128, random.stream('calibration')).join('\n')}\n`,
    LICENSE: wordnetLicence(),
  })
  addDocuments(run.folder, { 'dev.csv': table(splits.dev), 'test.csv': table(splits.test) })
  const measured = async (file) => (await evaluate(folder, `classification=${file}`)).metrics
  const [dev, test] = [await measured(run.path('dev.csv')), await measured(run.path('test.csv'))]
  return {
    task: 'classification',
    metric: 'accuracy',
    better: 'higher',
    tolerance: 1.5,
    test,
    dev,
    samples: { file: 'samples.csv', count: sampleCount, ...(await measured(`${folder}/samples.csv`)) },
    baselines: {
      majority: { accuracy: majorityShare(splits.test.map(({ label }) => label)) },
      bagOfWords: { accuracy: linear.test, dev: linear.dev, words: linear.features, penalty: linear.penalty },
    },
    counts: Object.fromEntries(Object.entries(splits).map(([name, { length: count }]) => [name, count])),
    ...size,
    seed,
  }
}
