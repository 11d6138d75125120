import { type WritableFolder, writeFile } from '../base/bytes.js'
import { reportHtml } from './page.js'
import type { Report } from './report.js'

/** The text of `report.json`. */
export function reportJson(report: Report): string {
  return `${JSON.stringify(report, null, 2)}\n`
}

/**
 * Puts `report.json` and `report.html` into a folder.
 *
 * @throws TinsmithError `cannot-write` when the system refuses
 * @example
 * await writeReport(folder, report)
 */
export async function writeReport(folder: WritableFolder, report: Report): Promise<void> {
  await writeFile(folder, 'report.json', reportJson(report))
  await writeFile(folder, 'report.html', reportHtml(report))
}
