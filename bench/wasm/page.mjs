// A contestant in a browser; see openChromium.
import * as library from 'onnxruntime-web/wasm'
import { fetched, fetchedFolder, placeWorker } from '../page-files.mjs'
import { actions, onnxruntime, tinsmith } from './encoders.mjs'

placeWorker()
library.env.wasm.wasmPaths = new URL('/onnxruntime-web/', location.href).href

/** Makes `ask` of the page. */
globalThis.open = async ({ name, folder, files, jobs, threads }) => {
  const opened = {
    tinsmith: async () => tinsmith(await fetchedFolder(folder, files), threads),
    onnxruntime: async () => onnxruntime(library, await fetched(`/${folder}/onnx/model_quantized.onnx`), threads),
  }
  const known = actions(jobs, await opened[name]())
  globalThis.ask = (line) => {
    const [action, ...words] = line.split(' ')
    return known[action](...words)
  }
}
