// A decoder on our kernels. ours.mjs MODEL THREADS PROMPT GENERATED
// `run generate`, `run prompt512`; `perplexity IDS.json WINDOW WINDOWS`; `memory` tells this process's.
import fs from 'node:fs'
import { answer, residentBytes } from '../answers.mjs'
import { timed } from '../batches.mjs'
import { generate, openDecoder, perplexity, readBytes, readPrompt } from './decoder.mjs'

const [folder, threads, prompt, generated] = process.argv.slice(2)
const session = await openDecoder(folder, Number(threads))
const jobs = { prompt512: () => readPrompt(session, Number(prompt)), generate: () => generate(session, Number(generated)) }

await answer({
  run: async (job) => ({ milliseconds: await timed(jobs[job]) }),
  perplexity: (file, window, windows) => perplexity(session, JSON.parse(fs.readFileSync(file, 'utf8')), Number(window), Number(windows)),
  memory: () => ({ resident: residentBytes(), weights: session.program.weightBytes, read: readBytes(session), engine: session.engine }),
})
