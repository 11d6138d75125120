import { runtime } from '#engine'
import { readAsset } from '#platform'

/** What runs here. */
export interface Build {
  readonly version: string
  /** Hash of the built code; null when it runs from its sources. */
  readonly code: string | null
}

let known: Promise<Build> | undefined

/** Version and code of this package. */
export function buildOf(): Promise<Build> {
  known ??= readBuild()
  return known
}

async function readBuild(): Promise<Build> {
  try {
    return JSON.parse(await readAsset(new URL('../build.json', import.meta.url))) as Build
  } catch {
    const { version } = JSON.parse(await readAsset(new URL('../../package.json', import.meta.url))) as Build
    return { version, code: null }
  }
}

/** Versions that a result depends on, by name. */
export async function versions(): Promise<Record<string, string>> {
  const node = globalThis.process?.versions?.node
  return { tinsmith: (await buildOf()).version, onnxruntime: runtime.version, ...(node ? { node } : {}) }
}
