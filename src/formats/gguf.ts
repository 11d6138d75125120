import type { ByteSource, Folder } from '../base/bytes.js'
import { badInput, unsupported } from '../base/errors.js'
import { foreignFormats, type GgufFormat, ggufFormats } from './gguf-blocks.js'
import { type MetadataValue, readGgufHeader, type TensorInfo } from './gguf-header.js'
import { GgufTensor } from './gguf-tensor.js'
import { shorten } from './json.js'

/** A model as llama.cpp keeps it: what is known of it, and its weights by llama.cpp's names. */
export interface Gguf {
  /** The file, or the first of several, for messages. */
  readonly name: string
  readonly metadata: ReadonlyMap<string, MetadataValue>
  readonly tensors: ReadonlyMap<string, GgufTensor>
}

const defaultAlignment = 32
const partPattern = /-(\d{5})-of-(\d{5})\.gguf$/

/**
 * Reads the header of a GGUF file; the tensors' bytes stay where they are until read.
 *
 * Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * @throws TinsmithError `bad-input` naming the key or tensor at fault; `unsupported` for big-endian files and for formats of blocks that
 * Tinsmith does not read
 * @example
 * const { metadata, tensors } = await readGguf(await openFile('SmolLM2-135M-Instruct.Q4_1.gguf'))
 * metadata.get('general.architecture') // 'llama'
 */
export async function readGguf(source: ByteSource): Promise<Gguf> {
  const where = source.name
  const { metadata, tensors: infos, end } = await readGgufHeader(source)
  const alignment = alignmentOf(metadata, where)
  const dataStart = Math.ceil(end / alignment) * alignment
  const tensors = new Map<string, GgufTensor>()
  for (const info of infos) {
    if (tensors.has(info.name)) throw badInput(`tensor ${shorten(info.name, 200)} is given twice`, { where })
    tensors.set(info.name, tensorOf(info, source, dataStart, alignment))
  }
  checkOverlaps(infos, tensors, where)
  return { name: where, metadata, tensors }
}

function alignmentOf(metadata: ReadonlyMap<string, MetadataValue>, where: string): number {
  const alignment = metadata.get('general.alignment') ?? defaultAlignment
  if (typeof alignment === 'number' && alignment > 0 && Number.isInteger(Math.log2(alignment))) return alignment
  throw badInput(`general.alignment is ${shorten(String(alignment), 50)} and must be a power of two`, { where })
}

function tensorOf({ name, shape, type, offset }: TensorInfo, source: ByteSource, dataStart: number, alignment: number): GgufTensor {
  const where = source.name
  const fault = (message: string, hint?: string) => badInput(`tensor ${shorten(name, 200)} ${message}`, { where, hint })
  const format = formatOf(name, type, where)
  const bytes = bytesOf(format, shape)
  if (bytes === undefined) throw fault(`has the shape [${shape.join(', ')}], too large to exist`)
  if (shape.length ? shape.at(-1)! % format.size : format.size > 1)
    throw fault(`is ${format.name} in blocks of ${format.size}, and its rows of ${shape.at(-1) ?? 1} are no whole blocks`)
  if (offset % alignment) throw fault(`begins at byte ${offset} of the data, which is no multiple of the alignment ${alignment}`)
  if (dataStart + offset + bytes > source.size)
    throw fault(
      `ends at byte ${dataStart + offset + bytes}, past the file's end at ${source.size}`,
      'The file is cut off or its header is wrong.',
    )
  return new GgufTensor(format, shape, source, dataStart + offset)
}

function formatOf(name: string, type: number, where: string): GgufFormat {
  const format = ggufFormats[type]
  if (format) return format
  const known = foreignFormats[type]
  if (!known) throw badInput(`tensor ${shorten(name, 200)} has the unknown format ${type}`, { where })
  throw unsupported(`tensor ${shorten(name, 200)} is ${known}, a format that Tinsmith does not read`, {
    where,
    hint: 'Give the model in another quantization, such as Q4_K_M, Q8_0 or F16.',
  })
}

/** Undefined beyond what numbers hold exactly. */
function bytesOf({ size, bytes }: GgufFormat, shape: readonly number[]): number | undefined {
  let total = bytes / size
  for (const dimension of shape) {
    total *= dimension
    if (total > Number.MAX_SAFE_INTEGER) return undefined
  }
  return total
}

function checkOverlaps(infos: readonly TensorInfo[], tensors: ReadonlyMap<string, GgufTensor>, where: string): void {
  const ordered = [...infos].sort((a, b) => a.offset - b.offset)
  for (let i = 1; i < ordered.length; i++) {
    const [before, { name, offset }] = [ordered[i - 1], ordered[i]]
    if (before.offset + tensors.get(before.name)!.storedBytes > offset)
      throw badInput(`tensor ${shorten(name, 200)} begins at byte ${offset} of the data, inside tensor ${shorten(before.name, 200)}`, {
        where,
      })
  }
}

/**
 * Opens a model in one GGUF file or in the parts of `gguf-split`.
 *
 * @param parts paths in the folder, in order, as {@link ggufParts} gives them
 * @throws TinsmithError `bad-input` naming the part that is missing or contradicts the others
 * @example
 * await openGguf(folder, ggufParts('model-00001-of-00002.gguf'))
 */
export async function openGguf(folder: Folder, parts: readonly string[]): Promise<Gguf> {
  const absent: string[] = []
  for (const part of parts) if (!(await folder.has(part))) absent.push(part)
  if (absent.length)
    throw badInput(
      `${absent.length} of ${parts.length} parts are missing: ${absent.slice(0, 5).join(', ')}${absent.length > 5 ? ' ...' : ''}`,
      {
        where: folder.name,
        hint: 'Download them again.',
      },
    )
  const read: Gguf[] = []
  for (const part of parts) read.push(await readGguf(await folder.open(part)))
  for (const [number, part] of read.entries()) checkPart(part, number, parts.length)
  const tensors = new Map<string, GgufTensor>()
  for (const part of read)
    for (const [name, tensor] of part.tensors) {
      if (tensors.has(name)) throw badInput(`tensor ${shorten(name, 200)} lies in another part too`, { where: part.name })
      tensors.set(name, tensor)
    }
  const { name, metadata } = read[0]
  const count = metadata.get('split.tensors.count')
  if (typeof count === 'number' && count !== tensors.size)
    throw badInput(`the parts hold ${tensors.size} tensors and should hold ${count}`, { where: name, hint: 'Download them again.' })
  return { name, metadata, tensors }
}

function checkPart({ metadata, name }: Gguf, number: number, count: number): void {
  const [saidNumber, saidCount] = [metadata.get('split.no') ?? 0, metadata.get('split.count') ?? 1]
  // Files that were never split may say that they are 0 parts.
  if (Number(saidCount) > 1 ? Number(saidCount) !== count || Number(saidNumber) !== number : count > 1)
    throw badInput(`this is part ${Number(saidNumber) + 1} of ${saidCount}, not part ${number + 1} of ${count}`, {
      where: name,
      hint: 'Parts keep the names NAME-00001-of-00003.gguf that llama.cpp gave them.',
    })
}

/**
 * The files of a model by the name of any of them.
 *
 * @example
 * ggufParts('model-00001-of-00002.gguf') // ['model-00001-of-00002.gguf', 'model-00002-of-00002.gguf']
 */
export function ggufParts(file: string): string[] {
  const count = Number(partPattern.exec(file)?.[2] ?? 0)
  if (!count) return [file]
  const [base, digits] = [file.replace(partPattern, ''), (number: number) => String(number).padStart(5, '0')]
  return Array.from({ length: count }, (_, i) => `${base}-${digits(i + 1)}-of-${digits(count)}.gguf`)
}

/** The GGUF models of a folder, each as its first file; projectors and importance matrices are no models. */
export function ggufModels(files: readonly string[]): string[] {
  const models = files.filter((file) => file.endsWith('.gguf') && !/(^|[/.-])(mmproj|imatrix)/i.test(file))
  return [...new Set(models.map((file) => ggufParts(file)[0]))]
}
