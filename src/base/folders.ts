import type { ByteSource, Folder } from './bytes.js'
import { badInput, didYouMean, TinsmithError } from './errors.js'

/** A folder over sources that are open already. */
export class SourceFolder implements Folder {
  readonly name: string
  readonly sources: ReadonlyMap<string, ByteSource>

  constructor(sources: ReadonlyMap<string, ByteSource>, name: string) {
    this.sources = sources
    this.name = name
  }

  async list(): Promise<string[]> {
    return [...this.sources.keys()].sort()
  }

  async has(path: string): Promise<boolean> {
    return this.sources.has(path)
  }

  async open(path: string): Promise<ByteSource> {
    const source = this.sources.get(path)
    if (!source) throw absentFile(path, this.name, [...this.sources.keys()])
    return source
  }
}

/**
 * The parts of a relative path with `/` as separator. Paths that are absolute, climb with `..` or hold what no file name holds
 * are `bad-input`.
 *
 * @example
 * relativeParts('onnx/model.onnx', 'folder') // ['onnx', 'model.onnx']
 */
export function relativeParts(path: string, folder: string): string[] {
  const parts = path.split('/').filter((part) => part && part !== '.')
  if (!parts.length || path.startsWith('/') || parts.includes('..') || /[\0\\]|^[A-Za-z]:/.test(path)) throw leavesFolder(path, folder)
  return parts
}

/** The error for a path that leads out of its folder. */
export function leavesFolder(path: string, folder: string) {
  const shown = path.length > 200 ? `${path.slice(0, 200)}...` : path
  return badInput(`the path ${JSON.stringify(shown)} leads out of the folder`, {
    where: folder,
    hint: "A model's files must lie inside its folder.",
  })
}

/** The error for a file of this package that is not where the package keeps it. */
export function missingAsset(url: URL, cause: unknown): TinsmithError {
  return new TinsmithError('failed', `a file of the package is missing: ${url.href.replace(/^.*\//, '')}`, {
    hint: 'Install the package again, or run `npm run build`.',
    cause,
  })
}

/** The error for a file that is not in its folder; names the nearest of the files that are. */
export function absentFile(path: string, folder: string, present: readonly string[]) {
  return badInput(`there is no file ${path}`, { where: folder, hint: present.length ? hintFor(path, present) : undefined })
}

function hintFor(path: string, present: readonly string[]): string | undefined {
  const hint = didYouMean(path, present)
  return hint.startsWith('Did') ? hint : undefined
}
