/** The files of the model to begin with: picked, or fetched. */
import { BlobSource, type ByteSource, type Folder, MemoryFolder } from '../../src/base/bytes.js'
import { badInput } from '../../src/base/errors.js'
import { SourceFolder } from '../../src/base/folders.js'

/** Files of a checkpoint that training needs, and those that travel along where they are there. */
const needed = ['config.json', 'model.safetensors', 'tokenizer.json']
const optional = ['tokenizer_config.json', 'special_tokens_map.json', 'vocab.txt', 'LICENSE', 'README.md']

/** The folder that was picked; nothing is read before it is needed. */
export function pickedFolder(files: readonly File[]): Folder {
  const inFolder = (file: File) => file.webkitRelativePath.split('/').slice(1).join('/') || file.name
  const sources = files.map((file): [string, ByteSource] => [inFolder(file), new BlobSource(file, inFolder(file))])
  return new SourceFolder(new Map(sources), files[0]?.webkitRelativePath.split('/')[0] || 'model')
}

/**
 * The folder at an address.
 *
 * @throws TinsmithError `bad-input` when a file that is needed cannot be had
 */
export async function fetchedFolder(address: string, signal?: AbortSignal): Promise<Folder> {
  const base = new URL(address.endsWith('/') ? address : `${address}/`, location.href)
  const files = new Map<string, Uint8Array>()
  for (const name of [...needed, ...optional]) {
    const response = await fetch(new URL(name, base), { signal }).catch(() => null)
    if (response?.ok) files.set(name, new Uint8Array(await response.arrayBuffer()))
    else if (needed.includes(name))
      throw badInput(`there is no ${name}`, { where: base.href, hint: 'Give the address of a checkpoint folder.' })
  }
  return new MemoryFolder(files, base.pathname.split('/').at(-2) || 'model')
}

/** Whether a text is an address rather than a hub id (owner/name). */
export function isAddress(text: string): boolean {
  return /^(https?:|\.{0,2}\/)/.test(text)
}
