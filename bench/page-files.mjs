// What pages of comparisons share; see openChromium.
import { MemoryFolder } from '../dist/base/bytes.js'
import { placeWasmWorker } from '../dist/engine/compiled/wasm/workers.js'

export const placeWorker = () => placeWasmWorker({ worker: new URL('/page/worker.js', location.href) })

export const fetched = async (address) => new Uint8Array(await (await fetch(address)).arrayBuffer())

/** A served folder in memory. */
export async function fetchedFolder(name, files) {
  const contents = await Promise.all(files.map(async (file) => [file, await fetched(`/${name}/${file}`)]))
  return new MemoryFolder(new Map(contents), name)
}
