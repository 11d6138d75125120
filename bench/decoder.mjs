// npm run bench:decoder [-- --rounds 5] [--threads 2] [--json]: SmolLM2-135M at 4 bit on our kernels against llama.cpp: tokens a second of
// generation and of a prompt, perplexity; and in WebAssembly, in Chromium, against transformers.js.
import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { filesOf, openChromium } from './chromium.mjs'
import { contest, measured, ratioTable, timesFaster } from './contest.mjs'
import { llamaContestant, llamaCpp, quantized } from './decoder/llama-cpp.mjs'
import { tokenIds } from './minilm.mjs'
import { orLeftOut } from './peers.mjs'
import { Contestant, dataPath, machine, median, modelPath, options, print, root, stop, temporaryFolder, tinsmith } from './support.mjs'

const given = options({ rounds: 5, threads: 2, generated: 128, 'generated-in-pages': 32, windows: 16 })
const [prompt, window] = [512, 512]
const source = modelPath('SmolLM2-135M-Instruct-GGUF')
const gguf = path.join(source, 'SmolLM2-135M-Instruct.Q4_1.gguf')
const work = temporaryFolder()
const int4 = path.join(work, 'int4')
const texts = path.join(work, 'calibration.txt')
fs.writeFileSync(texts, fs.readFileSync(dataPath('trec', 'train.txt'), 'utf8').replace(/^\d+ /gm, ''))
await tinsmith('compress', source, int4, '--recipe', 'int4', '--set', 'weight-only.head=4', '--calibrate', texts)

const names = { ours: 'tinsmith int4', page: 'tinsmith int4 in Chromium', peerPage: 'transformers.js q4 in Chromium' }
const ours = (model, ...more) =>
  new Contestant(process.execPath, [path.join(root, 'bench/decoder/ours.mjs'), model, given.threads, ...more])
const contestants = [{ name: names.ours, jobs: ['generate', 'prompt512'], process: ours(int4, prompt, given.generated) }]
const llama = await orLeftOut('llama.cpp', llamaCpp)
if (llama)
  for (const type of ['Q4_0', 'Q4_1']) {
    const file = type === 'Q4_1' ? gguf : await orLeftOut(`llama.cpp ${type}`, () => quantized(llama, gguf, type))
    const setting = { threads: given.threads, prompt, generated: given.generated }
    if (file)
      contestants.push({ name: `llama.cpp ${type}`, jobs: ['generate', 'prompt512'], process: llamaContestant(llama, file, setting) })
  }
const chromium = await orLeftOut('Chromium', () => {
  const { resolve } = createRequire(path.join(root, 'node_modules/@huggingface/transformers/package.json'))
  const library = path.dirname(resolve('onnxruntime-web'))
  return openChromium(work, path.join(root, 'bench/decoder/page.mjs'), { int4, 'onnxruntime-web': library })
})
if (chromium)
  for (const [label, name] of [
    [names.page, 'tinsmith'],
    [names.peerPage, 'transformers.js'],
  ]) {
    const job = { name, folder: 'int4', files: filesOf(int4), threads: given.threads, generated: given['generated-in-pages'] }
    const page = await orLeftOut(label, () => chromium.contestant(job))
    if (page) contestants.push({ name: label, jobs: ['generate in a page'], process: page })
  }

const times = await contest(contestants, given.rounds)
if (!times.has(names.ours)) stop('There is nothing to compare: our kernels did not run the model.')
const memory = await contestants[0].process.ask('memory')
const quality = await perplexities()
for (const { process } of contestants) await process.end()
await chromium?.close()

/** Perplexity on wikitext-2's validation text, in float32 and as compressed. */
async function perplexities() {
  const text = fs.readFileSync(dataPath('wikitext-2', 'valid.txt'), 'utf8').slice(0, 16 * window * given.windows)
  const file = path.join(work, 'ids.json')
  const encode = await tokenIds(int4, { add_special_tokens: false })
  fs.writeFileSync(file, JSON.stringify(encode(text).slice(0, window * given.windows)))
  const question = `perplexity ${file} ${window} ${given.windows}`
  const float32 = ours(source, prompt, given.generated)
  const found = { float32: await float32.ask(question), int4: await contestants[0].process.ask(question) }
  float32.end()
  return { ...found, worse: found.int4 / found.float32 - 1 }
}

const ratios = measured({
  ...Object.fromEntries(
    ['Q4_0', 'Q4_1'].flatMap((type) =>
      ['generate', 'prompt512'].map((job) => [`llama.cpp-${type}:${job}`, timesFaster(times, names.ours, `llama.cpp ${type}`, job)]),
    ),
  ),
  'transformers.js-q4:chromium:generate': timesFaster(times, names.page, names.peerPage, 'generate in a page'),
})
const tokensOf = { generate: given.generated, prompt512: prompt, 'generate in a page': given['generated-in-pages'] }
const rows = [...times].map(([name, jobs]) => ({
  name,
  tokensPerSecond: Object.fromEntries(Object.entries(jobs).map(([job, values]) => [job, (1e3 * tokensOf[job]) / median(values)])),
}))
const { generate } = rows.find(({ name }) => name === names.ours)?.tokensPerSecond ?? {}
const versions = { kernels: memory.engine, ...llama?.versions, ...(chromium && { chromium: chromium.version }) }
const setting = { threads: given.threads, rounds: given.rounds, generated: given.generated }
const here = machine({ ...versions, ...setting })
print(given, { ratios, rows, quality, memory, machine: here }, [
  [
    'SmolLM2-135M-Instruct, tokens a second, medians',
    rows.map(({ name, tokensPerSecond }) => ({
      engine: name,
      ...Object.fromEntries(Object.keys(tokensOf).map((job) => [job, tokensPerSecond[job]?.toFixed(1) ?? null])),
    })),
  ],
  ratioTable(ratios, here),
  [
    'Perplexity (wikitext-2, windows of 512), memory',
    [
      {
        float32: quality.float32.toFixed(3),
        int4: quality.int4.toFixed(3),
        worse: `${(100 * quality.worse).toFixed(2)} %`,
        'weights MB': (memory.weights / 1e6).toFixed(1),
        'read MB a token': (memory.read / 1e6).toFixed(1),
        'read GB/s while generating': generate ? ((generate * memory.read) / 1e9).toFixed(1) : null,
        'resident MB': memory.resident && (memory.resident / 1e6).toFixed(1),
      },
    ],
  ],
])
