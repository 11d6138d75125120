// Completes the build: copies recipes that the compiler passes over, and stamps it with its version and the hash of its code.
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const [dist, presets] = [path.join(root, 'dist'), path.join('recipes', 'presets')]

fs.rmSync(path.join(dist, presets), { recursive: true, force: true })
fs.mkdirSync(path.join(dist, presets), { recursive: true })
for (const file of fs.readdirSync(path.join(root, 'src', presets)).filter((name) => name.endsWith('.yaml')))
  fs.copyFileSync(path.join(root, 'src', presets, file), path.join(dist, presets, file))

const hash = createHash('sha256')
const code = fs.readdirSync(dist, { recursive: true }).filter((file) => /\.(js|yaml)$/.test(file))
for (const file of code.sort())
  hash
    .update(file)
    .update('\0')
    .update(fs.readFileSync(path.join(dist, file)))
const { version } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
fs.writeFileSync(path.join(dist, 'build.json'), `${JSON.stringify({ version, code: hash.digest('hex') })}\n`)
