import type { ByteSource, Folder, WritableFolder } from './bytes.js'
import type { Image } from './image.js'

/** A source that holds something of the system open. Closing is optional: it happens when nobody holds the source any more. */
export interface OpenSource extends ByteSource {
  close(): Promise<void>
}

/** A file for what does not fit in memory; it is gone when the process ends. */
export interface ScratchFile {
  write(offset: number, bytes: Uint8Array): Promise<void>
  read(offset: number, length: number): Promise<Uint8Array>
  remove(): Promise<void>
}

export interface WriteFolderOptions {
  /** Replace a folder that holds files. */
  force?: boolean
  /** Paths that the work reads from: the new folder must not be one of them, nor lie inside one, nor around one. */
  sources?: readonly string[]
}

/** A folder inside another one, as the cache sees it. */
export interface FolderEntry {
  readonly name: string
  /** Sum over its files. */
  readonly bytes: number
  /** Milliseconds since 1970 of the last {@link Platform.touchFolder}, at least of its making. */
  readonly usedAt: number
}

/**
 * What Tinsmith needs of the system it runs on; `#platform` is the twin for Node.js or the one for browsers, and this is
 * what both export. In a browser, paths name files of the origin's private file system.
 */
export interface Platform {
  /** A file for reading at any place. Throws `bad-input` when there is none or it cannot be read. */
  openFile(path: string): Promise<OpenSource>
  /** A folder for reading; nothing outside it is ever opened, also not through symbolic links. Throws `bad-input`. */
  openFolder(path: string): Promise<Folder>
  /**
   * Makes a folder that appears whole or not at all: `fill` writes beside it, then it is flushed and renamed.
   *
   * @throws TinsmithError `usage` before any work when the folder holds files and `force` is not set, or when it would
   * touch a source; `cannot-write` when the system refuses (full disk, no permission)
   */
  writeFolder<T>(path: string, options: WriteFolderOptions, fill: (folder: WritableFolder) => Promise<T>): Promise<T>
  /** What {@link Platform.writeFolder} checks before any work, for callers that want to know before theirs. */
  checkWritable(path: string, options: WriteFolderOptions): Promise<void>
  /** A new temporary file. Throws `cannot-write` when there is no room for it; in browsers its content stays in memory. */
  scratchFile(): Promise<ScratchFile>
  /** Removes a folder so that nobody sees a half of it. Nothing happens when there is none. */
  removeFolder(path: string): Promise<void>
  /** The folders in a folder; none when it does not exist. */
  folderEntries(path: string): Promise<FolderEntry[]>
  /** Marks a folder as just used. */
  touchFolder(path: string): Promise<void>
  pathKind(path: string): Promise<'file' | 'folder' | null>
  /** The text of a file that comes with this package, by an address relative to `import.meta.url`. Throws `failed` when it is not there. */
  readAsset(url: URL): Promise<string>
  /** The path of a file or folder that comes with this package, by such an address. Throws `unsupported` in browsers. */
  assetPath(url: URL): string
  /** Names of what lies directly in a folder, sorted; none when it does not exist. */
  namesIn(path: string): Promise<string[]>
  joinPath(...parts: string[]): string
  /** The folder that a path lies in, and its name there. */
  splitPath(path: string): { folder: string; name: string }
  /**
   * The pixels of an image file, upright. Throws `bad-input` with `name` when it cannot be read, and in Node.js `unsupported` when the
   * package sharp is not installed.
   */
  decodeImage(bytes: Uint8Array, name: string): Promise<Image>
  /** SHA-256 in hexadecimal; a source is read piece by piece. */
  sha256(source: ByteSource | Uint8Array): Promise<string>
  /** Where Tinsmith may keep things: TINSMITH_CACHE, else `tinsmith` in the platform's cache folder. */
  cacheFolder(): string
  /** Logical processors that this process may use. */
  hardwareThreads(): number
  /** An environment variable; empty counts as absent. */
  environment(name: string): string | undefined
  /** What the processor calls itself, for reports. */
  processorName(): string
  /** Bytes of memory that this process may use; undefined where the platform does not tell. */
  totalMemory(): number | undefined
}
