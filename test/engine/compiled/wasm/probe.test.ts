import { describe, expect, it } from 'vitest'
import { ModuleBuilder } from '../../../../src/engine/compiled/wasm/module.js'
import { probe, wasmFeatures } from '../../../../src/engine/compiled/wasm/probe.js'
import { f32x4, i32x4, integers } from '../../../../src/engine/compiled/wasm/values.js'

const module = new ModuleBuilder()
module.export(
  'run',
  module.function('run', [], ['i32'], (f) => f.return(i32x4.extract_lane(f32x4.relaxed_madd(integers(0), integers(0), integers(0)), 0))),
)
const validates = WebAssembly.validate(module.bytes())

describe('the probe', () => {
  it('claims no instruction that does not validate', async () => {
    const { multiplyAdd, roundedProduct, dot } = await probe()
    if (!validates) expect({ multiplyAdd, roundedProduct, dot }).toEqual({ multiplyAdd: false, roundedProduct: false, dot: 'none' })
    else expect({ multiplyAdd, roundedProduct }).toEqual({ multiplyAdd: true, roundedProduct: true })
  })

  it('is made once', () => {
    expect(wasmFeatures()).toBe(wasmFeatures())
  })
})
