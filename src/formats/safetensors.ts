import type { ByteSink, ByteSource } from '../base/bytes.js'
import { badInput, didYouMean, unsupported } from '../base/errors.js'
import { StoredTensor, type Tensor } from '../ir/tensor.js'
import { type DType, dtypes } from '../numbers/dtype.js'
import { isRecord, parseJson, shorten } from './json.js'

/** The format's names in the order in which its reference writes them: widest first. */
const dtypeNames = [
  ['U64', 'uint64'],
  ['I64', 'int64'],
  ['F64', 'float64'],
  ['C64', 'complex64'],
  ['F32', 'float32'],
  ['U32', 'uint32'],
  ['I32', 'int32'],
  ['BF16', 'bfloat16'],
  ['F16', 'float16'],
  ['U16', 'uint16'],
  ['I16', 'int16'],
  ['F8_E5M2FNUZ', 'float8e5m2fnuz'],
  ['F8_E4M3FNUZ', 'float8e4m3fnuz'],
  ['F8_E8M0', 'float8e8m0'],
  ['F8_E4M3', 'float8e4m3fn'],
  ['F8_E5M2', 'float8e5m2'],
  ['I8', 'int8'],
  ['U8', 'uint8'],
  ['F4', 'float4e2m1'],
  ['BOOL', 'bool'],
] as const satisfies readonly (readonly [string, DType])[]

const dtypeOf = new Map<string, DType>(dtypeNames)
const nameOf = new Map<DType, string>(dtypeNames.map(([name, dtype]) => [dtype, name]))
const rankOf = new Map<DType, number>(dtypeNames.map(([, dtype], rank) => [dtype, rank]))
/** Names of the format whose numbers Tinsmith has no type for. */
const foreignNames = ['F6_E2M3', 'F6_E3M2']

const largestHeader = 100_000_000
/** The document, a tensor, its shape. */
const deepestHeader = 3

export interface Safetensors {
  /** By name, in the order of their bytes in the file. */
  readonly tensors: Map<string, StoredTensor>
  /** The texts under `__metadata__`. */
  readonly metadata: Record<string, string>
}

interface Entry {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly start: number
  readonly end: number
}

/**
 * Reads the header of a safetensors file; the tensors' bytes stay where they are until read.
 *
 * As strict as the format's reference: every byte belongs to exactly one tensor.
 * Source: https://github.com/huggingface/safetensors (README, Format)
 *
 * @throws TinsmithError `bad-input` naming the tensor at fault; `unsupported` for the 6-bit floats
 * @example
 * const { tensors } = await readSafetensors(await openFile('model.safetensors'))
 * await tensors.get('lm_head.weight')?.read()
 */
export async function readSafetensors(source: ByteSource): Promise<Safetensors> {
  const where = source.name
  const { text, dataStart } = await readHeader(source)
  const header = parseJson(text, where, deepestHeader)
  if (!isRecord(header)) throw badInput('the header is not a JSON object', { where })
  const metadata = checkMetadata(header['__metadata__'], where)
  const entries: Entry[] = []
  for (const name of Object.keys(header)) if (name !== '__metadata__') entries.push(checkEntry(name, header[name], where))
  entries.sort((a, b) => a.start - b.start || a.end - b.end)
  checkLayout(entries, source.size - dataStart, where)
  const stored = entries.map(({ name, dtype, shape, start }) => [name, new StoredTensor(dtype, shape, source, dataStart + start)] as const)
  return { tensors: new Map(stored), metadata }
}

async function readHeader(source: ByteSource): Promise<{ text: string; dataStart: number }> {
  const where = source.name
  if (source.size < 8)
    throw badInput(source.size ? `the file has only ${source.size} bytes` : 'the file is empty', { where, hint: 'Download it again.' })
  const prefix = await source.read(0, 8)
  const size = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true)
  if (size > largestHeader)
    throw badInput(`the header says that it has ${size} bytes and may have ${largestHeader}`, { where, hint: notSafetensors })
  const dataStart = 8 + Number(size)
  if (dataStart > source.size)
    throw badInput(`the header says that it has ${size} bytes but the file has ${source.size}`, {
      where,
      hint: 'The file is cut off or no safetensors file.',
    })
  const bytes = await source.read(8, Number(size))
  if (bytes[0] !== 0x7b) throw badInput('the header does not begin with {', { where, hint: notSafetensors })
  try {
    return { text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes), dataStart }
  } catch (error) {
    throw badInput('the header is not UTF-8', { where, hint: notSafetensors, cause: error })
  }
}

const notSafetensors = 'This is no safetensors file, or it is damaged.'

function checkMetadata(metadata: unknown, where: string): Record<string, string> {
  if (metadata === undefined) return {}
  if (isRecord(metadata) && Object.values(metadata).every((text) => typeof text === 'string')) return metadata as Record<string, string>
  throw badInput('__metadata__ in the header must map names to texts', { where })
}

function checkEntry(name: string, entry: unknown, where: string): Entry {
  const fault = (message: string, hint?: string) => badInput(`tensor ${shorten(name, 200)} ${message}`, { where, hint })
  if (!isRecord(entry)) throw fault('is described by no JSON object')
  const { dtype: dtypeName, shape, data_offsets: offsets } = entry
  if (typeof dtypeName !== 'string') throw fault('has no dtype')
  const dtype = dtypeOf.get(dtypeName)
  if (foreignNames.includes(dtypeName))
    throw unsupported(`tensor ${name} has the dtype ${dtypeName}, which Tinsmith cannot compute with`, { where })
  if (!dtype) throw fault(`has the unknown dtype ${shorten(dtypeName, 50)}`, didYouMean(dtypeName, [...dtypeOf.keys()]))
  if (!isSizes(shape)) throw fault('has a shape that is no list of whole numbers from 0 to 2^53')
  if (!isSizes(offsets) || offsets.length !== 2) throw fault('has data_offsets that are not two whole numbers from 0 to 2^53')
  const [start, end] = offsets
  if (end < start) throw fault(`ends at byte ${end}, before its start at ${start}`)
  const bits = bitsOf(dtype, shape)
  if (bits === undefined) throw fault(`has the shape [${describe(shape)}], too large to exist`)
  if (bits % 8) throw fault(`has ${bits} bits, which fill no whole bytes`)
  if (bits / 8 !== end - start)
    throw fault(`has the shape [${describe(shape)}] of ${dtypeName}, ${bits / 8} bytes, but data_offsets of ${end - start}`)
  return { name, dtype, shape, start, end }
}

function isSizes(list: unknown): list is number[] {
  return Array.isArray(list) && list.every((size) => Number.isSafeInteger(size) && size >= 0)
}

/** Undefined beyond what numbers hold exactly. */
function bitsOf(dtype: DType, shape: readonly number[]): number | undefined {
  let bits: number = dtypes[dtype].bits
  for (const size of shape) {
    bits *= size
    if (bits > Number.MAX_SAFE_INTEGER) return undefined
  }
  return bits
}

function describe(shape: readonly number[]): string {
  return shorten(shape.join(', '), 100)
}

/** Entries in order of their offsets must cover the data without a gap. */
function checkLayout(entries: readonly Entry[], dataSize: number, where: string): void {
  let covered = 0
  let before = ''
  for (const { name, start, end } of entries) {
    const label = `tensor ${shorten(name, 200)}`
    if (start < covered) throw badInput(`${label} begins at byte ${start}, inside tensor ${shorten(before, 200)}`, { where })
    if (end > dataSize)
      throw badInput(`${label} ends at byte ${end}, past the ${dataSize} bytes of data`, {
        where,
        hint: 'The file is cut off or its header is wrong.',
      })
    if (start > covered) throw badInput(`the ${start - covered} bytes before ${label} belong to no tensor`, { where })
    covered = end
    before = name
  }
  if (covered < dataSize)
    throw badInput(`the last ${dataSize - covered} bytes belong to no tensor`, { where, hint: 'A tensor is missing from the header.' })
}

/**
 * Writes a safetensors file tensor by tensor, as the format's reference does: widest dtypes first, then by name, the
 * header padded to 8 bytes. The same tensors give the same bytes.
 *
 * @throws TinsmithError `unsupported` for dtypes that the format lacks
 * @example
 * await writeSafetensors(await folder.create('model.safetensors'), tensors, { format: 'pt' })
 */
export async function writeSafetensors(
  sink: ByteSink,
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  for (const [name, tensor] of tensors) checkWritable(name, tensor)
  const ordered = [...tensors].sort(([a, x], [b, y]) => rankOf.get(x.dtype)! - rankOf.get(y.dtype)! || compare(a, b))
  await sink.write(headerOf(ordered, metadata))
  for (const [name, tensor] of ordered) {
    const bytes = await tensor.bytes()
    if (bytes.length !== tensor.byteLength) throw new Error(`tensor ${name} has ${bytes.length} bytes and should have ${tensor.byteLength}`)
    await sink.write(bytes)
  }
  await sink.close()
}

function checkWritable(name: string, tensor: Tensor): void {
  if (name === '__metadata__') throw badInput('no tensor of a safetensors file may be called __metadata__')
  if (!nameOf.has(tensor.dtype))
    throw unsupported(`tensor ${name} is ${tensor.dtype}, which safetensors files cannot hold`, { hint: 'Pack it into uint8 first.' })
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function headerOf(ordered: readonly (readonly [string, Tensor])[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const parts: string[] = []
  const texts = Object.entries(metadata).sort(([a], [b]) => compare(a, b))
  if (texts.length) parts.push(`"__metadata__":${JSON.stringify(Object.fromEntries(texts))}`)
  let at = 0
  for (const [name, tensor] of ordered) {
    const end = at + tensor.byteLength
    parts.push(
      `${JSON.stringify(name)}:${JSON.stringify({ dtype: nameOf.get(tensor.dtype), shape: tensor.shape, data_offsets: [at, end] })}`,
    )
    at = end
  }
  const json = new TextEncoder().encode(`{${parts.join(',')}}`)
  const header = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20)
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true)
  header.set(json, 8)
  return header
}
