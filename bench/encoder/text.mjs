// Texts to vectors through a public API, tokenization included; `run JOB` embeds the job's batches of texts, one call for each.
// text.mjs tinsmith|transformers.js FOLDER JOBS.json THREADS
import fs from 'node:fs'
import path from 'node:path'
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
  const { pipeline, env } = await import('@huggingface/transformers')
  env.allowRemoteModels = false
  env.localModelPath = path.dirname(folder)
  const extract = await pipeline('feature-extraction', path.basename(folder), {
    dtype: 'q8',
    session_options: { intraOpNumThreads: Number(threads) },
  })
  return (texts) => extract(texts, { pooling: 'mean', normalize: true })
}
