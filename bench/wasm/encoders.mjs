// MiniLM in WebAssembly, in Node.js and in browsers: what a contestant answers with; see Contestant in support.mjs.
import { compiledBackend } from '#kernels'
import { openCompiled } from '../../dist/engine/compiled/session.js'
import { wasmFeatures } from '../../dist/engine/compiled/wasm/probe.js'
import { importModel } from '../../dist/raise/import.js'
import { encoderFeeds, timed } from '../batches.mjs'

/** Our kernels. @param source a folder, or its path */
export async function tinsmith(source, threads) {
  const { model } = await importModel(source)
  const session = await openCompiled(model.graph, await compiledBackend(), { threads })
  return {
    about: async () => ({ engine: session.engine, ...(await wasmFeatures()) }),
    array: (shape, data) => ({ dtype: 'int64', shape, data }),
    run: (feeds, outputs) => session.run(feeds, { outputs }),
  }
}

/** onnxruntime-web. @param library the module */
export async function onnxruntime(library, bytes, threads) {
  library.env.wasm.numThreads = threads
  const session = await library.InferenceSession.create(bytes, { executionProviders: ['wasm'] })
  return {
    about: () => ({ engine: `onnxruntime-web ${library.env.versions.web}` }),
    array: (shape, data) => new library.Tensor('int64', data, shape),
    run: (feeds, outputs) => session.run(feeds, outputs),
  }
}

/** `run JOB`, `vectors` (of the job `texts`) and `about`. */
export function actions(jobs, { about, array, run }) {
  const prepared = Object.fromEntries(
    Object.entries(jobs).map(([name, batches]) => [name, batches.map((rows) => encoderFeeds(rows, array))]),
  )
  const runAll = async (job) => {
    const found = []
    for (const feeds of prepared[job]) found.push((await run(feeds, ['sentence_embedding'])).sentence_embedding.data)
    return found
  }
  return {
    about,
    run: async (job) => ({ milliseconds: await timed(() => runAll(job)) }),
    vectors: async () => (await runAll('texts')).flatMap((data) => [...data]),
  }
}
