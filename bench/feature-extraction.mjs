import path from 'node:path'
import { env, pipeline } from '@huggingface/transformers'

/** A folder's model through transformers.js: texts to vectors of length 1, [texts, width]. */
export async function featureExtraction(folder, dtype, threads) {
  env.allowRemoteModels = false
  env.localModelPath = path.dirname(folder)
  const extract = await pipeline('feature-extraction', path.basename(folder), { dtype, session_options: { intraOpNumThreads: threads } })
  return { embed: (texts) => extract(texts, { pooling: 'mean', normalize: true }), dispose: () => extract.dispose() }
}
