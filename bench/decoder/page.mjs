// A decoder in a browser: ours or transformers.js, both in WebAssembly; see openChromium.
import { AutoModelForCausalLM, env, Tensor } from '@huggingface/transformers'
import { timed } from '../batches.mjs'
import { fetchedFolder, placeWorker } from '../page-files.mjs'
import { generate, openDecoder } from './decoder.mjs'

placeWorker()

async function openTinsmith({ folder, files, threads }) {
  const session = await openDecoder(await fetchedFolder(folder, files), threads)
  return (tokens) => generate(session, tokens)
}

async function openTransformers({ folder, threads }) {
  Object.assign(env, { allowRemoteModels: false, allowLocalModels: true, localModelPath: '/', useBrowserCache: false, useWasmCache: false })
  Object.assign(env.backends.onnx.wasm, { numThreads: threads, wasmPaths: new URL('/onnxruntime-web/', location.href).href })
  const model = await AutoModelForCausalLM.from_pretrained(folder, { dtype: 'q4', device: 'wasm' })
  const one = () => new Tensor('int64', BigInt64Array.of(1n), [1, 1])
  return async (tokens) => {
    const limits = { max_new_tokens: tokens, min_new_tokens: tokens, do_sample: false }
    const { dims } = await model.generate({ inputs: one(), attention_mask: one(), ...limits })
    if (dims[1] !== tokens + 1) throw new Error(`${dims[1] - 1} tokens came instead of ${tokens}`)
  }
}

/** Makes `ask` of the page: `run generate`. */
globalThis.open = async (job) => {
  const run = await { tinsmith: openTinsmith, 'transformers.js': openTransformers }[job.name](job)
  globalThis.ask = async () => ({ milliseconds: await timed(() => run(job.generated)) })
}
