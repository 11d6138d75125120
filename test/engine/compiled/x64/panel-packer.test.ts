import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../../../src/base/random.js'
import { ConstantMemory } from '../../../../src/engine/compiled/x64/constant-memory.node.js'
import { dotMachines } from '../../../../src/engine/compiled/x64/dot-machine.js'
import { viewMemory } from '../../../../src/engine/compiled/x64/memory.node.js'
import { panelPacker } from '../../../../src/engine/compiled/x64/panel-packer.node.js'
import { packPanels, surveyOf } from '../../../../src/engine/compiled/x64/panels.js'
import { runsHere } from './machine.js'

const shapes = fc.record({ inputs: fc.integer({ min: 1, max: 20 }), outputs: fc.integer({ min: 1, max: 150 }) })
const linears = shapes.chain(({ inputs, outputs }) =>
  fc.int8Array({ minLength: inputs * outputs, maxLength: inputs * outputs }).map((codes) => ({ inputs, outputs, codes })),
)
/** Half of all shapes are such as the machine code takes. */
const evenLinears = fc.oneof(
  linears,
  fc.record({ eights: fc.integer({ min: 1, max: 3 }), outputs: fc.integer({ min: 16, max: 150 }) }).chain(({ eights, outputs }) => {
    const size = 8 * eights * outputs
    return fc.int8Array({ minLength: size, maxLength: size }).map((codes) => ({ inputs: 8 * eights, outputs, codes }))
  }),
)

describe.skipIf(!runsHere)('codes packed by machine code', () => {
  it('give the same sums and extremes', () => {
    const packer = panelPacker(new ConstantMemory())
    fc.assert(
      fc.property(evenLinears, ({ codes, outputs }) => {
        expect(packer.survey(codes, outputs)).toEqual(surveyOf(codes, outputs))
      }),
    )
  })

  it.each(['avx2Couples', 'avx2Bytes', 'avx2Words', 'avx512Vnni'] as const)('give the same panels for %s', async (name) => {
    const constants = new ConstantMemory()
    const layouts = fc.record({ order: fc.constantFrom('natural', 'packed'), overlap: fc.constantFrom('repeat', 'skip') })
    await fc.assert(
      fc.asyncProperty(evenLinears, layouts, async (linear, layout) => {
        const given = { machine: dotMachines[name], highest: 255, ...layout }
        const panels = packPanels(linear, given, panelPacker(constants))
        await constants.filled()
        expect({ ...panels, bytes: panels.bytes.slice() }).toEqual(packPanels(linear, given))
      }),
      { numRuns: 50 },
    )
    constants.release()
  })
})

describe.skipIf(!runsHere)('groups joined by machine code', () => {
  /** Matrices of 16 to 40 columns, each group of inputs with codes of its own size. */
  const matrices = fc
    .record({ outputs: fc.integer({ min: 16, max: 40 }), sizes: fc.array(fc.nat(127), { minLength: 2, maxLength: 120 }), seed: fc.nat() })
    .map(({ outputs, sizes, seed }) => {
      const random = new Random(seed)
      const groups = sizes.length & ~1
      const code = (size: number) => Math.max(-128, random.integer(2 * size + 2) - size - 1)
      const codes = Int8Array.from({ length: 4 * groups * outputs }, (_, i) => code(sizes[Math.floor(i / (4 * outputs))]))
      return { inputs: 4 * groups, outputs, codes }
    })

  it.each([255, 127])('are the same, with inputs up to %d', async (highest) => {
    const constants = new ConstantMemory()
    await fc.assert(
      fc.asyncProperty(matrices, async (linear) => {
        const layout = { machine: dotMachines.avx2Couples, order: 'packed', overlap: 'repeat', highest } as const
        const panels = packPanels(linear, layout, panelPacker(constants))
        await constants.filled()
        expect(Buffer.compare(panels.bytes, packPanels(linear, layout).bytes)).toBe(0)
      }),
      { numRuns: 60 },
    )
    constants.release()
  })
})

describe.skipIf(!runsHere)('memory for constants', () => {
  it('holds copies that other threads make, once they are done', async () => {
    const constants = new ConstantMemory()
    const large = new Float32Array(2 ** 19).map((_, i) => i)
    const address = constants.place(large)
    expect(constants.place(large)).toBe(address)
    await constants.filled()
    const copy = viewMemory(BigInt(address), large.byteLength)
    expect(Buffer.compare(copy, new Uint8Array(large.buffer))).toBe(0)
    constants.release()
  })

  it('says what went wrong to those who wait', async () => {
    const constants = new ConstantMemory()
    constants.fill(Promise.reject(new Error('it broke')), [])
    await expect(constants.filled()).rejects.toThrow('it broke')
    constants.release()
  })
})
