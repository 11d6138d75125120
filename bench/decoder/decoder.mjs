// A decoder on our kernels, in Node.js and in browsers.
import { compiledBackend } from '#kernels'
import { describePlan } from '../../dist/engine/compiled/plan/describe.js'
import { openCompiled } from '../../dist/engine/compiled/session.js'
import { generateIds } from '../../dist/pipelines/generate.js'
import { importModel } from '../../dist/raise/import.js'

/** @param source a folder, or its path */
export async function openDecoder(source, threads) {
  const { model } = await importModel(source)
  return openCompiled(model.graph, await compiledBackend(), { threads })
}

/** Generates so many tokens after one. */
export async function generate(session, tokens) {
  let made = 0
  for await (const _ of generateIds(session, [1], { maxNewTokens: tokens })) made++
  if (made !== tokens) throw new Error(`${made} tokens came instead of ${tokens}`)
}

/** Reads a prompt of so many tokens and gives the logits after it. */
export async function readPrompt(session, tokens) {
  const ids = Array.from({ length: tokens }, (_, i) => 1000 + ((i * 7919) % 20000))
  await run(session, ids, ['logits', ...session.outputs.map(({ name }) => name).filter((name) => name.startsWith('present'))], true)
}

/** Bytes of packed weights that each generated token needs: all but the tables of embeddings. */
export function readBytes({ plan, program }) {
  const tables = describePlan(plan).steps.filter(({ kind }) => kind === 'embed')
  return program.weightBytes - tables.reduce((sum, { constantBytes }) => sum + constantBytes, 0)
}

/** exp of the mean of -log(probability) of each window's tokens after its first. */
export async function perplexity(session, ids, window, windows) {
  let [sum, count] = [0, 0]
  for (let at = 0; at < window * windows; at += window) {
    const tokens = ids.slice(at, at + window)
    const logits = await run(session, tokens, ['logits'], false)
    const vocabulary = logits.length / window
    for (let i = 1; i < window; i++) sum += surprise(logits.subarray((i - 1) * vocabulary, i * vocabulary), tokens[i])
    count += window - 1
  }
  return Math.exp(sum / count)
}

function surprise(logits, token) {
  const highest = logits.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY)
  return highest + Math.log(logits.reduce((sum, value) => sum + Math.exp(value - highest), 0)) - logits[token]
}

/** The logits after a sequence of ids, or after its last. */
async function run(session, ids, outputs, last) {
  const int64 = (values, shape = [1, values.length]) => ({ dtype: 'int64', shape, data: BigInt64Array.from(values, BigInt) })
  const known = {
    input_ids: () => int64(ids),
    attention_mask: () => int64(ids.map(() => 1)),
    position_ids: () => int64([...ids.keys()]),
    num_logits_to_keep: () => int64([last ? 1 : 0], []),
  }
  const empty = ({ dtype, shape }) => ({ dtype, shape: [1, shape[1], 0, shape[3]], data: new Float32Array(0) })
  const feeds = Object.fromEntries(session.inputs.map((port) => [port.name, known[port.name]?.() ?? empty(port)]))
  const results = await session.run(feeds, { outputs })
  const { data } = results.logits
  for (const output of Object.values(results)) output.dispose()
  return data
}
