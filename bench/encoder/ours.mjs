// An encoder on our kernels. ours.mjs MODEL JOBS.json THREADS [ATTENTION]
// `run JOB` runs the job's batches of token ids; `vectors FILE` writes the vectors of the job `sorted` (float32);
// `memory` tells this process's at rest.
import fs from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { answer, residentBytes } from '../answers.mjs'
import { encoderFeeds, timed } from '../batches.mjs'

/** What loading leaves behind goes back to the system a second later. */
const restMilliseconds = 2000

const bare = residentBytes()
const [folder, jobsFile, threads, attention] = process.argv.slice(2)
const { session, program, arenas } = await open()
const array = (shape, data) => ({ dtype: 'int64', shape, data })
const jobs = Object.fromEntries(
  Object.entries(JSON.parse(fs.readFileSync(jobsFile, 'utf8'))).map(([name, batches]) => [
    name,
    batches.map((rows) => encoderFeeds(rows, array)),
  ]),
)

await answer({
  run: async (job) => ({ milliseconds: await timed(async () => void (await runAll(jobs[job]))) }),
  vectors: async (file) => fs.writeFileSync(file, Buffer.concat(await runAll(jobs.sorted))),
  memory: async () => {
    await wait(restMilliseconds)
    return { bare, resident: residentBytes(), weights: program.weightBytes, arenas: arenas(), engine: session.engine }
  },
})

async function open() {
  const { load } = await import('tinsmith/load')
  const { arenaBytes } = await import('../../dist/engine/compiled/program.js')
  const { session } = await load(folder, { engine: 'compiled', threads: Number(threads), attention })
  const { program, plan } = session
  /** Of all threads, for blocks of texts of 128 tokens; null where the backend has no blocks. */
  const arenas = () => {
    const tokens = program.options?.blockTokens
    return tokens ? threads * arenaBytes(plan.memory, { token: tokens, sequence: tokens / 128 }) : null
  }
  return { session, program, arenas }
}

async function runAll(batches) {
  const found = []
  for (const feeds of batches) {
    const { sentence_embedding: output } = await session.run(feeds, { outputs: ['sentence_embedding'] })
    found.push(Buffer.from(output.data.buffer, output.data.byteOffset, output.data.byteLength))
    output.dispose()
  }
  return found
}
