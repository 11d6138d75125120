// MiniLM and the pairs of STS-B, with which most comparisons are made.
import fs from 'node:fs'
import path from 'node:path'
import { dataPath, modelPath, readTable, tinsmith } from './support.mjs'

export const source = modelPath('all-MiniLM-L6-v2')
/** Pairs of texts for calibration. */
export const trainingPairs = dataPath('stsb', 'train.csv')
/** Pairs of texts to measure with, each with its score. */
export const devPairs = readTable(dataPath('stsb', 'dev.csv'))

/** Writes the model in int8, calibrated, and gives its folder. */
export async function int8Folder(folder) {
  await tinsmith('compress', source, folder, '--recipe', 'int8', '--calibrate', trainingPairs)
  return folder
}

/** Text to token ids as the tokenizer of a folder has it, MiniLM's unless said. */
export async function tokenIds(folder = source, options = {}) {
  const { Tokenizer } = await import('@huggingface/tokenizers')
  const document = (name) => JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8'))
  const tokenizer = new Tokenizer(document('tokenizer.json'), document('tokenizer_config.json'))
  return (text) => tokenizer.encode(text, options).ids
}

/** Writes the token ids of so many texts, spread evenly over those for calibration, and gives the file. */
export async function calibrationFile(file, samples) {
  const encode = await tokenIds()
  const texts = readTable(trainingPairs).flatMap((row) => row.slice(0, 2))
  const ids = Array.from({ length: samples }, (_, i) => encode(texts[Math.floor((i * texts.length) / samples)]))
  fs.writeFileSync(file, JSON.stringify(ids))
  return file
}
