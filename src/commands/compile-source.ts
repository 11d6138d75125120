import { hardwareThreads } from '#platform'
import { type Folder, MemoryFolder, readAll } from '../base/bytes.js'
import { type FolderNotes, isAsNoted, NotingFolder } from '../base/folder-notes.js'
import { AheadSource, folderWith } from '../base/read-ahead.js'
import type { Backend } from '../engine/compiled/backend.js'
import { type CompiledOptions, findSession, openCompiled } from '../engine/compiled/session.js'
import type { Session } from '../engine/session.js'
import type { Source } from '../formats/index.js'
import type { Model } from '../ir/model.js'
import { createPipeline, type Pipeline } from '../pipelines/index.js'
import { type CommandOptions, WarningKeeper } from './context.js'

/** How a source is compiled. */
export type CompileOptions = Partial<CompiledOptions> & CommandOptions

/** A model as it was read, and what was seen of its source by then. */
export interface ReadModel {
  readonly model: Model
  readonly notes: FolderNotes
  readonly warnings: readonly string[]
}

/** Reads the model of a source. */
export async function readModel(source: Source, { progress }: CommandOptions): Promise<ReadModel> {
  const { openSource } = await import('./source.js')
  const [folder, keeper] = [new NotingFolder(source.folder), new WarningKeeper(progress)]
  const { model } = await openSource({ ...source, folder }, keeper)
  return { model, notes: await folder.notes(), warnings: keeper.warnings }
}

/** The pipeline of an ONNX file, whose tokenizer is made while others work on its session. */
export function compileFile(source: Source, path: string, options: CompileOptions): Promise<Pipeline> {
  return createPipeline(source.folder, sessionOf(source, path, options), source.name)
}

/** As it was kept; else the file is read while modules load. */
async function sessionOf(source: Source, path: string, options: CompileOptions): Promise<Session> {
  const { folder } = source
  const compilation = await Compilation.of(folder, path, options)
  const kept = await compilation.kept()
  if (kept) return kept.session
  const ahead = new AheadSource(await folder.open(path))
  try {
    return await compilation.compile(await readModel({ ...source, folder: folderWith(folder, path, ahead), graphs: [path] }, options))
  } finally {
    ahead.release()
  }
}

/** The pipeline of a checkpoint or a GGUF file. */
export async function compileCheckpoint(
  { folder, graphs: [path = 'config.json'], name }: Source,
  read: () => Promise<ReadModel>,
  options: CompileOptions,
): Promise<Pipeline> {
  const compilation = await Compilation.of(folder, path, options)
  const kept = await compilation.kept()
  if (kept) return createPipeline(new MemoryFolder(kept.files, name), kept.session)
  const found = await read()
  const files = await filesOf(found.model)
  return createPipeline(new MemoryFolder(files, name), compilation.compile(found, files))
}

/** The files that travel along, with the configuration as it is now. */
export async function filesOf({ files, config }: Model): Promise<Map<string, Uint8Array>> {
  const contents = new Map<string, Uint8Array>()
  for (const [name, source] of files) contents.set(name, await readAll(source))
  if (config) contents.set('config.json', new TextEncoder().encode(JSON.stringify(config)))
  return contents
}

/** What is known of a session that was kept; plain data. */
interface Origin extends Omit<ReadModel, 'model'> {
  readonly files: Map<string, Uint8Array>
}

/** Of a folder's file; processes keep its session for each other. */
class Compilation {
  private constructor(
    readonly folder: Folder,
    readonly path: string,
    readonly backend: Backend,
    readonly options: CompiledOptions & CommandOptions,
    /** Undefined where nobody can tell whether the file is still the same. */
    readonly key: string | undefined,
  ) {}

  static async of(folder: Folder, path: string, options: CompileOptions): Promise<Compilation> {
    const { compiledBackend } = await import('#kernels')
    const complete = { ...options, threads: options.threads ?? Math.min(8, hardwareThreads()) }
    return new Compilation(folder, path, await compiledBackend(), complete, await keyOf(folder, path, options))
  }

  /** The session that an earlier process kept, if all that it was made of is unchanged; people are told what they were told then. */
  async kept(): Promise<{ readonly session: Promise<Session>; readonly files: Map<string, Uint8Array> } | undefined> {
    const found = this.key && findSession(this.key, this.backend, this.options)
    if (!found) return undefined
    const { notes, warnings, files } = found.about as Origin
    if (await isAsNoted(this.folder, notes)) {
      for (const warning of warnings) this.options.progress?.warn(warning)
      return { session: found.open(), files }
    }
    found.close()
    return undefined
  }

  /** Compiles a model, and keeps the session for later processes where the file is still the same. */
  async compile({ model, notes, warnings }: ReadModel, files = new Map<string, Uint8Array>()): Promise<Session> {
    const { threads, cache, attention } = this.options
    const session = await openCompiled(model.graph, this.backend, { threads, cache, attention })
    const origin: Origin = { notes, warnings, files }
    const isSame = this.key === (await keyOf(this.folder, this.path, this.options))
    // Programs that end as soon as they have their result keep it too; what cannot be kept is made again.
    if (this.key && isSame) await session.keep(this.key, origin).catch(() => {})
    return session
  }
}

async function keyOf(folder: Folder, path: string, { cache, attention }: CompileOptions): Promise<string | undefined> {
  const state = await folder.state?.(path)
  return state && JSON.stringify([path, state, cache, attention])
}
