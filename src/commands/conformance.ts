import { openFile, openFolder, pathKind } from '#platform'
import { type ConformanceReport, conformance as runConformance } from '../ops/conformance.js'
import type { CommandOptions } from './context.js'

/**
 * Runs the standard's node tests through shape rules and reference evaluation.
 *
 * @param path a folder, or an archive `.tar.gz`
 * @throws TinsmithError `bad-input` when there is no case in it
 */
export async function conformance(path: string, { progress }: CommandOptions = {}): Promise<ConformanceReport> {
  const source = (await pathKind(path)) === 'folder' ? await openFolder(path) : await openFile(path)
  return runConformance(source, progress)
}
