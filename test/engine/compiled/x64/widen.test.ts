import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { processorFeatures } from '../../../../src/engine/compiled/x64/features.node.js'
import { addressOf, mapCode } from '../../../../src/engine/compiled/x64/memory.node.js'
import { widen, widenParameters } from '../../../../src/engine/compiled/x64/widen.js'
import { runsHere } from './machine.js'

describe.skipIf(!runsHere || !processorFeatures().avx2)('widening of bytes (skipped without AVX2)', () => {
  it('keeps every number, row by row', () => {
    const code = mapCode(widen())
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 1, max: 70 }), fc.integer({ min: 0, max: 9 }), (rows, inputs, gap) => {
        const stride = Math.ceil(inputs / 16) * 16 + gap
        const input = Uint8Array.from({ length: rows * stride }, (_, i) => (i * 7919) >> 3)
        const output = new Uint16Array(rows * stride + 1).fill(0xffff)
        const block = widenParameters.block({
          input: addressOf(input),
          inputStride: stride,
          rows,
          inputs,
          output: addressOf(output),
          outputStride: 2 * stride,
        })
        code.call(addressOf(block))
        for (let m = 0; m < rows; m++) {
          expect([...output.subarray(m * stride, m * stride + inputs)]).toEqual([...input.subarray(m * stride, m * stride + inputs)])
          expect(output.subarray((m + 1) * stride - gap, (m + 1) * stride).every((word) => word === 0xffff)).toBe(true)
        }
        expect(output[rows * stride]).toBe(0xffff)
      }),
    )
    code.release()
  })
})
