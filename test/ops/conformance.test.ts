import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { MemoryFolder, MemorySource } from '../../src/base/bytes.js'
import { TinsmithError } from '../../src/base/errors.js'
import { type DType, ndarray } from '../../src/numbers/dtype.js'
import { encodeBytes } from '../../src/onnx/encode.js'
import { dataTypes, tensorProto } from '../../src/onnx/schema.js'
import { compareArrays, conformance } from '../../src/ops/conformance.js'
import { unpackArchive } from '../../src/ops/conformance-archive.js'
import { floatsOf, infoOf, modelOf, nodeOf } from '../onnx/protos.js'

const [x, y] = [infoOf('x', [2]), infoOf('y', [2])]
const tensor = (name: string, values: number[]) => encodeBytes(tensorProto, floatsOf(name, values))

function caseOf(name: string, operator: string, output: Uint8Array): [string, Uint8Array][] {
  return [
    [`node/${name}/model.onnx`, modelOf({ node: [nodeOf(operator, ['x'], ['y'])], input: [x], output: [y] })],
    [`node/${name}/test_data_set_0/input_0.pb`, tensor('x', [-1, 2])],
    [`node/${name}/test_data_set_0/output_0.pb`, output],
  ]
}

const files = new Map([
  ...caseOf('test_relu', 'Relu', tensor('y', [0, 2])),
  ...caseOf('test_relu_wrong', 'Relu', tensor('y', [0, 2.1])),
  ...caseOf('test_unknown', 'Unheard', tensor('y', [0, 2])),
  ...caseOf('test_broken', 'Relu', Uint8Array.of(0x0a)),
])

/** A tar archive by the book: header, content, padding; paths in pax records where asked for. */
function tarOf(contents: ReadonlyMap<string, Uint8Array>, pax = false): Uint8Array {
  const blocks: Buffer[] = []
  const add = (path: string, type: string, content: Uint8Array) => {
    const header = Buffer.alloc(512)
    header.write(path.slice(0, 100), 0)
    header.write(content.length.toString(8).padStart(11, '0'), 124)
    header.write(type, 156)
    header.write('ustar\0', 257)
    blocks.push(header, Buffer.from(content), Buffer.alloc((512 - (content.length % 512)) % 512))
  }
  for (const [path, content] of contents) {
    const record = `${path.length + 9} path=${path}\n`
    if (pax) add('././@PaxHeader', 'x', Buffer.from(record))
    add(pax ? 'cut' : path, '0', content)
  }
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]))
}

describe('a conformance run', () => {
  const expected = {
    passed: 1,
    failed: [
      { case: 'test_broken', why: expect.stringContaining('output_0.pb') },
      { case: 'test_relu_wrong', why: expect.stringMatching(/y differs at element 1: 2 instead of 2\.09/) },
    ],
    unsupported: { Unheard: 1 },
  }

  test('over a folder', async () => {
    const report = await conformance(new MemoryFolder(files))
    expect({ ...report, failed: report.failed.toSorted((a, b) => (a.case < b.case ? -1 : 1)) }).toEqual(expected)
  })

  test('over an archive', async () => {
    for (const pax of [false, true]) {
      const source = new MemorySource(tarOf(files, pax), 'tests.tar.gz')
      expect((await unpackArchive(source)).files).toEqual(files)
      expect(await conformance(source)).toMatchObject({ passed: 1, unsupported: { Unheard: 1 } })
    }
  })

  test('needs cases', async () => {
    await expect(conformance(new MemoryFolder())).rejects.toThrow('there is no NAME/model.onnx in it')
  })

  test('refuses archives that are cut off or none', async () => {
    const archive = tarOf(files)
    for (const bytes of [
      archive.subarray(0, archive.length / 2),
      new Uint8Array(100),
      gzipSync(new Uint8Array(600).fill(65)),
      gzipSync(Buffer.alloc(700, 'ustar')),
    ])
      await expect(unpackArchive(new MemorySource(bytes, 'tests.tar.gz'))).rejects.toThrow(TinsmithError)
  })
})

describe('arrays are the same', () => {
  const compare = (dtype: DType, got: number[], expected: number[]) =>
    compareArrays(ndarray(dtype, [got.length], got), ndarray(dtype, [expected.length], expected), 'y')
  const { NaN: nan, POSITIVE_INFINITY: infinity } = Number

  test('within the tolerance of their dtype', () => {
    compare('float32', [1.0009, nan, infinity, 0, -0], [1, nan, infinity, -0, 1e-8])
    compare('bfloat16', [1.0078125], [1])
    compare('int64', [5], [5])
  })

  test.each<[DType, number[], number[]]>([
    ['float32', [1.002], [1]],
    ['float32', [nan], [1]],
    ['float32', [1], [nan]],
    ['float32', [infinity], [1]],
    ['float32', [1e30], [infinity]],
    ['float32', [-infinity], [infinity]],
    ['int32', [1], [2]],
    ['float32', [1], [1, 1]],
  ])('else not: %s %j %j', (dtype, got, expected) => {
    expect(() => compare(dtype, got, expected)).toThrow(/differs at element 0|has shape/)
  })

  test('only in one dtype', () => {
    expect(() => compareArrays(ndarray('int32', [1], [1]), ndarray('int64', [1], [1]), 'y')).toThrow('y is int32 and must be int64')
    expect(Object.keys(dataTypes)).toContain('int64')
  })
})
