import type { Folder } from '../base/bytes.js'
import { badInput } from '../base/errors.js'
import type { Session } from '../engine/session.js'
import { Pipeline } from './pipeline.js'
import { readPooling } from './pooling.js'
import { openTokenizer, readObject } from './tokenizer.js'

/** What follows a graph's name in the file of each dtype word, as transformers.js has it. */
export const dtypeSuffixes = {
  fp32: '',
  q8: '_quantized',
  int8: '_int8',
  uint8: '_uint8',
  q4: '_q4',
  q4f16: '_q4f16',
  fp16: '_fp16',
} as const

/** A dtype as users say it. */
export type DTypeWord = keyof typeof dtypeSuffixes

export interface LoadPipelineOptions {
  /** Default: `fp32` where the folder has it, else the first that it has of q8, int8, uint8, q4, q4f16, fp16. */
  readonly dtype?: DTypeWord
  /** Name of the graph. Default `model`. */
  readonly graph?: string
  /** Loads the ONNX file at this path of the folder. */
  readonly openSession: (path: string) => Promise<Session>
}

/** An ONNX file of a folder. */
export interface OnnxFile {
  readonly path: string
  readonly dtype: DTypeWord
}

/**
 * Loads a model's folder: its graph on an engine, tokenizer, configuration and pooling.
 *
 * @throws TinsmithError `bad-input` when the folder has no ONNX file of the dtype; a missing tokenizer is an error only
 * when text comes
 * @example
 * const pipeline = await load(folder, { dtype: 'q8', openSession: async (path) => runtime.load({ path: join(root, path) }) })
 */
export async function load(folder: Folder, { dtype, graph = 'model', openSession }: LoadPipelineOptions): Promise<Pipeline> {
  const { path } = chooseFile(await onnxFiles(folder, graph), dtype, folder.name, graph)
  return createPipeline(folder, openSession(path))
}

/**
 * A pipeline over a session, with the tokenizer, configuration and pooling of a folder; these are read while the session is still loading.
 *
 * @param name of the model
 */
export async function createPipeline(folder: Folder, opened: Session | Promise<Session>, name: string = folder.name): Promise<Pipeline> {
  const [session, tokenizer, config, generationConfig, pooling, imageSettings] = await Promise.all([
    opened,
    folder.has('tokenizer.json').then((present) => (present ? openTokenizer(folder) : null)),
    readObject(folder, 'config.json'),
    readObject(folder, 'generation_config.json'),
    readPooling(folder),
    readObject(folder, 'preprocessor_config.json'),
  ])
  return new Pipeline({ name, session, tokenizer, config, generationConfig, pooling, imageSettings })
}

/** The ONNX files of a graph, by dtype, in the order of preference; in `onnx/` or beside config.json. */
export async function onnxFiles(folder: Folder, graph = 'model'): Promise<OnnxFile[]> {
  const files = new Set(await folder.list())
  return (Object.keys(dtypeSuffixes) as DTypeWord[]).flatMap((dtype) => {
    const name = `${graph}${dtypeSuffixes[dtype]}.onnx`
    const path = [`onnx/${name}`, name].find((candidate) => files.has(candidate))
    return path ? [{ path, dtype }] : []
  })
}

function chooseFile(files: readonly OnnxFile[], dtype: DTypeWord | undefined, folder: string, graph: string): OnnxFile {
  const found = dtype ? files.find((file) => file.dtype === dtype) : files[0]
  if (found) return found
  const what = dtype ? `no onnx/${graph}${dtypeSuffixes[dtype]}.onnx (dtype ${dtype})` : `no onnx/${graph}.onnx`
  throw badInput(`there is ${what}`, {
    where: folder,
    hint: files.length ? `It has ${files.map((file) => file.dtype).join(', ')}.` : 'Convert the checkpoint first (tinsmith convert).',
  })
}
