// What the comparisons share: where models and data are, the machine, other processes and their cost, statistics, tables.
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))
export const command = path.join(root, 'bin/tinsmith.js')
const shared = path.resolve(process.env.TINSMITH_SHARED || path.join(root, '../shared'))
const models = path.resolve(process.env.TINSMITH_MODELS || path.join(os.homedir(), '.cache/tinsmith/test-models'))

/** The command line's words: `--json`, and `--rounds 7` as `rounds`. */
export function options(defaults) {
  const found = { json: false, ...defaults }
  const words = process.argv.slice(2)
  for (let i = 0; i < words.length; i++) {
    const name = words[i].replace(/^--/, '')
    if (!(name in found) || !words[i].startsWith('--'))
      stop(`there is no option ${words[i]}; there are ${Object.keys(found).map((key) => `--${key}`)}`)
    if (typeof found[name] === 'boolean') found[name] = true
    else if (Number.isInteger(Number(words[i + 1])) && Number(words[i + 1]) > 0) found[name] = Number(words[++i])
    else stop(`${words[i]} takes a whole number`)
  }
  return found
}

export function stop(sentence) {
  console.error(sentence)
  process.exit(2)
}

/** A real checkpoint or a file of data; ends with a sentence where it is absent. */
export const modelPath = (...parts) => present(path.join(models, ...parts), 'TINSMITH_MODELS')
export const dataPath = (...parts) => present(path.join(shared, 'data', ...parts), 'TINSMITH_SHARED')

function present(file, variable) {
  return fs.existsSync(file) ? file : stop(`${file} is absent; ${variable} says where it lies.`)
}

/** A folder that is gone when the process ends. */
export function temporaryFolder() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-bench-'))
  process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }))
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))
  return folder
}

/** The machine and what else it was doing. */
export function machine(more = {}) {
  const version = (name) => JSON.parse(fs.readFileSync(path.join(root, 'node_modules', name, 'package.json'), 'utf8')).version
  const flags = fs.existsSync('/proc/cpuinfo') ? fs.readFileSync('/proc/cpuinfo', 'utf8') : ''
  return {
    processor: os.cpus()[0]?.model.trim(),
    cores: os.availableParallelism(),
    instructions: ['avx2', 'avx512_vnni', 'avx_vnni', 'amx_int8', 'amx_bf16'].filter((flag) => new RegExp(`\\b${flag}\\b`).test(flags)),
    load: os.loadavg().map((value) => Number(value.toFixed(2))),
    node: process.versions.node,
    'onnxruntime-node': version('onnxruntime-node'),
    '@huggingface/transformers': version('@huggingface/transformers'),
    ...more,
  }
}

/** Runs a process to its end. Peak memory (bytes) where GNU time is there to tell, else null. */
export async function measure(file, args, { env, quiet = true } = {}) {
  const timer = fs.existsSync('/usr/bin/time')
  const report = path.join(os.tmpdir(), `tinsmith-bench-${process.pid}-${Math.random().toString(36).slice(2)}`)
  const words = timer ? ['/usr/bin/time', '-q', '-o', report, '-f', '%M %U %S', file, ...args] : [file, ...args]
  const start = performance.now()
  const { code, stdout, stderr } = await run(words, env, quiet)
  const seconds = (performance.now() - start) / 1e3
  if (code !== 0) throw new Error(`${path.basename(file)} ${args[0]} exited ${code}: ${stderr.trim().split('\n').slice(-3).join(' ')}`)
  const [kilobytes, user, system] = timer ? fs.readFileSync(report, 'utf8').trim().split(/\s+/).map(Number) : []
  fs.rmSync(report, { force: true })
  return { seconds, cpu: timer ? user + system : null, peak: timer ? kilobytes * 1024 : null, stdout }
}

function run([file, ...args], env, quiet) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', quiet ? 'pipe' : 'inherit'] })
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', (data) => (stdout += data))
    child.stderr?.on('data', (data) => (stderr += data))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout, stderr }))
  })
}

/** Runs `tinsmith` and gives its JSON document. */
export async function tinsmith(...words) {
  const { stdout } = await measure(process.execPath, [command, ...words, '--json'])
  return JSON.parse(stdout)
}

/** A Python with onnxruntime and onnx; see {@link environment}. */
export function python() {
  const script = 'import onnx, onnxruntime as r, platform as p; print(r.__version__, onnx.__version__, p.python_version())'
  return environment('python', ['onnxruntime', 'onnx'], script, ['onnxruntime (Python)', 'onnx', 'python'])
}

/** A Python with PyTorch and transformers (some gigabytes); `TINSMITH_TORCH` names one that is there. See {@link environment}. */
export function torch() {
  const script = 'import torch, transformers as t; print(torch.__version__, t.__version__)'
  return environment('torch', ['torch==2.15', 'transformers'], script, ['torch', 'transformers'], process.env.TINSMITH_TORCH)
}

/** A Python with OpenVINO and NNCF, which quantizes for it; see {@link environment}. */
export function openvino() {
  const script = 'import importlib.metadata as m; print(m.version("openvino"), m.version("nncf"))'
  return environment('openvino', ['openvino==2026.4.1', 'nncf==3.4.0'], script, ['openvino', 'nncf'])
}

/**
 * A Python with packages in an environment of its own below the system's temporary folder; made on first use. Null, with a message,
 * where there is no Python or no package index.
 *
 * @param script prints the versions that `names` are for
 * @param given a Python to use instead
 */
function environment(name, packages, script, names, given) {
  const folder = path.join(os.tmpdir(), `tinsmith-bench-${name}`)
  const file = given ?? path.join(folder, process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python')
  const versions = () => {
    const asked = spawnSync(file, ['-c', script])
    return asked.status === 0 ? asked.stdout.toString().trim().split(' ') : null
  }
  if (!versions()) {
    console.error(`making an environment with the Python packages ${packages.join(' and ')} ...`)
    spawnSync('python3', ['-m', 'venv', folder])
    spawnSync(file, ['-m', 'pip', 'install', '--quiet', ...packages], { stdio: ['ignore', 'ignore', 'ignore'] })
  }
  const found = versions()
  if (found) return { file, versions: Object.fromEntries(names.map((key, i) => [key, found[i]])) }
  console.error(`Python peers are left out: there is no Python with ${packages.join(' and ')}, and none could be made`)
  return null
}

/** A process that does one piece of work for each line that it is sent and answers with a line. */
export class Contestant {
  #child
  #waiting = []
  #ended

  constructor(file, args, env = {}) {
    this.#child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...env } })
    let rest = ''
    this.#child.stdout.on('data', (chunk) => {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop()
      for (const line of lines) this.#waiting.shift()?.resolve(JSON.parse(line))
    })
    const end = (reason) => {
      this.#ended ??= new Error(`${path.basename(file)} ${path.basename(args[0])} ${reason}`)
      for (const { reject } of this.#waiting.splice(0)) reject(this.#ended)
    }
    this.#child.on('error', ({ message }) => end(`cannot run: ${message}`))
    this.#child.on('exit', (code, signal) => end(`ended with ${signal ?? `code ${code}`}`))
    this.#child.stdin.on('error', () => {})
  }

  ask(word) {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended)
      this.#waiting.push({ resolve, reject })
      this.#child.stdin.write(`${word}\n`)
    })
  }

  end() {
    this.#child.stdin.end()
  }
}

/** Rows of a CSV file without header. */
export function readTable(file) {
  return fs
    .readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => [...line.matchAll(/("(?:[^"]|"")*"|[^,]*)(?:,|$)/g)].slice(0, -1).map(([, cell]) => unquoted(cell)))
}

const unquoted = (cell) => (cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell)

export const sorted = (values) => [...values].sort((a, b) => a - b)
export const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length
export const quantile = (values, share) => sorted(values)[Math.floor(share * (values.length - 1))]

/** Null where something was not measured. */
export function median(values) {
  if (values.includes(null)) return null
  const ordered = sorted(values)
  return (ordered[(ordered.length - 1) >> 1] + ordered[ordered.length >> 1]) / 2
}

export const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0)

/** Rank correlation of Spearman, in percent. */
export function spearman(a, b) {
  return 100 * correlation(ranks(a), ranks(b))
}

function ranks(values) {
  const order = [...values.keys()].sort((a, b) => values[a] - values[b])
  const found = new Array(values.length)
  for (let i = 0, end = 0; i < order.length; i = end) {
    while (end < order.length && values[order[end]] === values[order[i]]) end++
    for (let k = i; k < end; k++) found[order[k]] = (i + end - 1) / 2
  }
  return found
}

function correlation(a, b) {
  const [x, y] = [a, b].map((values) => values.map((value) => value - mean(values)))
  return dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y))
}

/** Prints one JSON document, or tables with the machine below. */
export function print({ json }, document, tables) {
  if (json) return console.log(JSON.stringify(document, null, 2))
  for (const [title, rows] of tables) if (rows.length) console.log(`\n${title}\n${aligned(rows)}`)
  console.log(
    `\n${Object.entries(document.machine)
      .map(([name, value]) => `${name} ${[value].flat().join(' ')}`)
      .join(', ')}`,
  )
}

function aligned(rows) {
  const cells = [Object.keys(rows[0]), ...rows.map((row) => Object.values(row).map((value) => (value === null ? '-' : String(value))))]
  const widths = cells[0].map((_, column) => Math.max(...cells.map((row) => row[column].length)))
  return cells.map((row) => row.map((cell, i) => (i ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join('  ')).join('\n')
}
