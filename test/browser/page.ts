import { placeWebRuntime, runtime } from '../../src/engine/ort/runtime.browser.js'
import { cases } from '../engine/cases.js'

placeWebRuntime({ wasm: new URL('/ort/', location.href).href })

/** What the test calls in the page. */
const engine = {
  isolated: crossOriginIsolated,
  names: cases.map(({ name }) => name),
  async run(name: string): Promise<void> {
    await cases.find((one) => one.name === name)!.run(runtime)
  },
}

Object.assign(globalThis, { engine })
