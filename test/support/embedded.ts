import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../assets/', import.meta.url))

/** A path in the folder of a model that comes with the package. */
export function embeddedPath(name: string, ...parts: string[]): string {
  return path.join(root, name, ...parts)
}

/** Whether a model that comes with the package is there yet; says so where it is not. */
export function isEmbedded(name: string): boolean {
  const found = fs.existsSync(embeddedPath(name, 'quality.json'))
  if (!found) console.warn(`skipped: assets/${name} is absent (npm run assets -- --update --only ${name})`)
  return found
}
