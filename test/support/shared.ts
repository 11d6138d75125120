import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const shared = path.resolve(process.env['TINSMITH_SHARED'] || '../shared')
const models = path.resolve(process.env['TINSMITH_MODELS'] || path.join(os.homedir(), '.cache', 'tinsmith', 'test-models'))

/** A path of the shared test data, null (and a message) where it is absent. */
export function sharedPath(...parts: string[]): string | null {
  return present(path.join(shared, ...parts), 'set TINSMITH_SHARED')
}

/** A path of the real checkpoints, null (and a message) where it is absent. */
export function modelPath(...parts: string[]): string | null {
  return present(path.join(models, ...parts), 'set TINSMITH_MODELS')
}

function present(file: string, hint: string): string | null {
  if (fs.existsSync(file)) return file
  console.warn(`skipped: ${file} is absent (${hint})`)
  return null
}
