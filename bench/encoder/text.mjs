// Texts to vectors through a public API, tokenization included; `run JOB` embeds the job's batches of texts, one call for each.
// text.mjs tinsmith|transformers.js FOLDER JOBS.json THREADS
import fs from 'node:fs'
import { answer } from '../answers.mjs'
import { timed } from '../batches.mjs'

const [library, folder, jobsFile, threads] = process.argv.slice(2)
const jobs = JSON.parse(fs.readFileSync(jobsFile, 'utf8'))
const embed = await { tinsmith: openTinsmith, 'transformers.js': openTransformers }[library]()

await answer({
  run: async (job) => ({
    milliseconds: await timed(async () => {
      for (const texts of jobs[job]) await embed(texts)
    }),
  }),
})

async function openTinsmith() {
  const { load } = await import('tinsmith')
  const pipeline = await load(folder, { engine: 'compiled', threads: Number(threads) })
  return (texts) => pipeline.embed(texts)
}

async function openTransformers() {
  const { featureExtraction } = await import('../feature-extraction.mjs')
  return (await featureExtraction(folder, 'q8', Number(threads))).embed
}
