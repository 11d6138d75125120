// npm run bench:limits [-- --threads 2] [--json]: what this processor can multiply and read at most, and how much of that MiniLM int8 and a
// decoder of 4 bits come to on our kernels: how far faster ones could still get.
import path from 'node:path'
import { load } from 'tinsmith/load'
import { assembler } from '../dist/engine/compiled/x64/assembler.js'
import { chooseDotMachine, chooseFloatMachine, vectorBytes } from '../dist/engine/compiled/x64/dot-machine.js'
import { processorFeatures } from '../dist/engine/compiled/x64/features.node.js'
import { called, mapCode, mapMemory, viewMemory } from '../dist/engine/compiled/x64/memory.node.js'
import { at, Label, r9, r12, rax, rdi, ymm } from '../dist/engine/compiled/x64/operands.js'
import { fullBatch, timed } from './batches.mjs'
import { generate, openDecoder, readBytes } from './decoder/decoder.mjs'
import { int8Folder } from './minilm.mjs'
import { machine, median, modelPath, options, print, temporaryFolder, tinsmith } from './support.mjs'

const given = options({ rounds: 5, threads: 2, generated: 64 })
const work = temporaryFolder()
const features = processorFeatures()

/** A loop of so many turns over memory at rdi, as a function of an address. */
function loopOf(turns, prepare, turn) {
  const a = assembler()
  const next = new Label()
  prepare(a)
  a.mov(rax, turns)
  a.align(32)
  a.bind(next)
  turn(a)
  a.dec(rax)
  a.jne(next)
  a.vzeroupper()
  a.ret()
  return mapCode(a.code()).call
}

/** Seconds of the fastest of some rounds in which so many threads call at the same time, each with an address. */
async function fastest(call, addresses) {
  const rounds = []
  for (let i = 0; i < given.rounds; i++) rounds.push(await timed(() => Promise.all(addresses.map((address) => called(call, address)))))
  return Math.min(...rounds) / 1e3
}

/** Multiplications a second of the tile in the middle of matrix products, whose rows and weights lie in the nearest cache. */
async function tileLimit(dot, threads) {
  const steps = 4
  const [lanes, groups] = [vectorBytes(dot) / 4, dot.coupled ? 2 : 1]
  const stride = steps * groups * 4
  const weightsAt = 4096
  const vectors = Array.from({ length: dot.rows * dot.across }, (_, i) => dot.registers[i])
  const sums = Array.from({ length: dot.rows }, (_, row) => vectors.slice(row * dot.across, (row + 1) * dot.across))
  const free = dot.registers.slice(vectors.length)
  const turns = 2e6
  const prepare = (a) => {
    dot.prepare(a, free)
    a.mov(r12, rdi)
    a.lea(r9, at(rdi, weightsAt))
  }
  const turn = (a) => {
    for (let step = 0; step < steps; step++)
      dot.step(a, {
        sums,
        free,
        groups,
        activations: (row, group) => at(r12, row * stride + 4 * (step * groups + group)),
        weights: (group, v) => at(r9, vectorBytes(dot) * ((step * groups + group) * dot.across + v)),
      })
  }
  const memories = Array.from({ length: threads }, () => mapMemory(2 * weightsAt + 4 * groups * dot.across * 64))
  const seconds = await fastest(
    loopOf(turns, prepare, turn),
    memories.map(({ address }) => address),
  )
  return (threads * turns * steps * dot.rows * dot.across * lanes * dot.group * groups) / seconds
}

/** Bytes a second that so many threads read from memory, each from its own 128 MiB. */
async function readLimit(threads) {
  const [bytes, piece] = [2 ** 27, 512]
  const turn = (a) => {
    for (let i = 0; i < piece; i += 32) a.vpor(ymm[(i / 32) % 8], ymm[(i / 32) % 8], at(rdi, i))
    a.add(rdi, piece)
  }
  const memories = Array.from({ length: threads }, () => mapMemory(bytes, { hugePages: true }))
  for (const { address } of memories) viewMemory(address, bytes).fill(1)
  const seconds = await fastest(
    loopOf(bytes / piece, () => {}, turn),
    memories.map(({ address }) => address),
  )
  for (const memory of memories) memory.release()
  return (threads * bytes) / seconds
}

/** Multiplications a second of MiniLM int8 on texts of so many tokens. */
async function encoderRate(session, texts, tokens) {
  const array = (value) => ({ dtype: 'int64', shape: [texts, tokens], data: BigInt64Array.from(fullBatch(texts, tokens).flat(), value) })
  const feeds = { input_ids: array(BigInt), attention_mask: array(() => 1n), token_type_ids: array(() => 0n) }
  const repeats = Math.ceil(2000 / (texts * tokens))
  const run = async () => {
    for (let i = 0; i < repeats; i++) for (const output of Object.values(await session.run(feeds))) output.dispose()
  }
  return (repeats * texts * tokens * session.plan.operations) / 2 / (await usual(run))
}

/** Bytes of weights a second that a decoder reads while it generates. */
async function decoderRate(session) {
  return (given.generated * readBytes(session)) / (await usual(() => generate(session, given.generated)))
}

/** The median of some rounds behind a first one, in seconds. */
async function usual(run) {
  const rounds = []
  for (let i = 0; i <= given.rounds; i++) rounds.push(await timed(run))
  return median(rounds.slice(1)) / 1e3
}

const { threads } = given
const dot = chooseDotMachine(features, 'avx2Couples')
const float = chooseFloatMachine(features)
const encoder = await load(await int8Folder(path.join(work, 'int8')), { engine: 'compiled', threads })
const int4 = path.join(work, 'int4')
await tinsmith('compress', modelPath('SmolLM2-135M-Instruct-GGUF'), int4, '--recipe', 'int4')
const limits = { int8: await tileLimit(dot, threads), float32: await tileLimit(float, threads), reading: await readLimit(threads) }
const shapes = [
  [32, 128],
  [32, 32],
  [1, 16],
]
const rows = []
for (const [texts, tokens] of shapes)
  rows.push({ work: `MiniLM int8, ${texts}x${tokens}`, limit: 'int8', rate: await encoderRate(encoder.session, texts, tokens) })
rows.push({ work: 'SmolLM2 int4, generation', limit: 'reading', rate: await decoderRate(await openDecoder(int4, threads)) })

const billions = (rate) => (rate / 1e9).toFixed(1)
print(given, { limits, rows, machine: machine() }, [
  [
    `At most, ${threads} threads together, in 1e9 a second`,
    [
      { what: `multiplications of int8 (${dot.name})`, rate: billions(limits.int8) },
      { what: `multiplications of float32 (${float.name})`, rate: billions(limits.float32) },
      { what: 'bytes read from memory', rate: billions(limits.reading) },
    ],
  ],
  [
    'Reached',
    rows.map(({ work, limit, rate }) => ({ work, rate: billions(rate), 'of the limit': `${((100 * rate) / limits[limit]).toFixed(0)} %` })),
  ],
])
process.exit(0)
