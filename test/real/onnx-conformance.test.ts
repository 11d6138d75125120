import fs from 'node:fs'
import { describe, expect, test } from 'vitest'
import { MemorySource } from '../../src/base/bytes.js'
import { conformance } from '../../src/ops/conformance.js'
import { sharedPath } from '../support/shared.js'

const archive = sharedPath('conformance', 'onnx-node-tests.tar.gz')

describe.skipIf(!archive)("the standard's node tests", () => {
  test('pass for every operator that has a record', async () => {
    const { passed, failed, unsupported } = await conformance(new MemorySource(fs.readFileSync(archive!), 'onnx-node-tests.tar.gz'))
    expect(failed).toEqual([])
    expect(passed + Object.values(unsupported).reduce((a, b) => a + b, 0)).toBe(1555)
  })
})
