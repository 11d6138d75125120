/**
 * Trains the models in assets/ from nothing and compares what they reach with what is committed; exit 1 where one falls short by
 * more than its tolerance. A run that was stopped goes on where it was.
 *
 *   npm run assets                     train and compare
 *   npm run assets -- --update         and put the new ones in place
 *   npm run assets -- --only NAME      one of them
 */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cacheFolder } from '#platform'
import { cardOf } from './assets/card.mjs'
import { classifier } from './assets/classifier.mjs'
import { digits } from './assets/digits.mjs'
import { languageModel } from './assets/language-model.mjs'
import { addDocuments, Run } from './assets/run.mjs'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const makers = { 'wordnet-language-model': languageModel, 'wordnet-classifier': classifier, 'mnist-vit': digits }
const names = Object.keys(makers)
const cache = path.join(cacheFolder(), 'assets', hashOfScripts())
const [committedIn, madeIn] = [(name) => path.join(root, 'assets', name), (name) => path.join(cache, name, 'model')]

/** Names the cache: what other scripts have begun is not gone on with. */
function hashOfScripts() {
  const folder = fileURLToPath(new URL('assets', import.meta.url))
  const hash = createHash('sha256')
  for (const file of fs.readdirSync(folder).sort())
    if (!file.startsWith('card.')) hash.update(file).update(fs.readFileSync(path.join(folder, file)))
  return hash.digest('hex').slice(0, 16)
}

/** Trains one model, or takes the one that an earlier run has finished. */
async function make(name) {
  if (readQuality(madeIn(name))) return
  const quality = await makers[name](new Run(name, path.join(cache, name)), madeIn(name))
  addDocuments(madeIn(name), { 'quality.json': quality })
}

function readQuality(folder) {
  const file = path.join(folder, 'quality.json')
  return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')) : null
}

/** Says what was measured beside what is committed; false where it falls short. */
function compare(name) {
  const [measured, committed] = [readQuality(madeIn(name)), readQuality(committedIn(name))]
  const { metric, better, tolerance } = measured
  const now = measured.test[metric]
  if (!committed) {
    console.log(`${name}: ${metric} ${now.toFixed(2)}; none is committed`)
    return true
  }
  const before = committed.test[metric]
  const ok = (better === 'higher' ? before - now : now - before) <= tolerance
  console.log(`${name}: ${metric} ${now.toFixed(2)}, committed ${before.toFixed(2)}, tolerance ${tolerance}${ok ? '' : ': FALLS SHORT'}`)
  return ok
}

function takeOver(name) {
  addDocuments(madeIn(name), { 'README.md': cardOf(name, readQuality(madeIn(name))) })
  fs.rmSync(committedIn(name), { recursive: true, force: true })
  fs.cpSync(madeIn(name), committedIn(name), { recursive: true })
}

const { values: options } = parseArgs({ options: { update: { type: 'boolean' }, only: { type: 'string' } } })
const wanted = options.only === undefined ? names : names.filter((name) => name === options.only)
if (!wanted.length) {
  console.error(`There is no such model. The models are ${names.join(', ')}.`)
  process.exit(2)
}
const start = performance.now()
for (const name of wanted) await make(name)
if (!wanted.map(compare).every(Boolean)) process.exitCode = 1
if (options.update) for (const name of wanted) takeOver(name)
for (const name of wanted) fs.rmSync(path.join(cache, name), { recursive: true, force: true })
if (!fs.readdirSync(cache).length) fs.rmdirSync(cache)
console.log(`${((performance.now() - start) / 6e4).toFixed(1)} minutes`)
