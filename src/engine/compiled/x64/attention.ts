import { unsupported } from '../../../base/errors.js'
import type { StepOf } from '../plan/steps.js'
import { type StepKernel, sequenceWords, type Word } from '../program.js'
import type { Assembler } from './assembler.js'
import {
  type AttentionCode,
  type AttentionShape,
  across,
  add,
  attentionParameters,
  frameBytes,
  local,
  move,
  scratchLayout,
} from './attention-frame.js'
import { Lanes } from './attention-lanes.js'
import { emitSingleQuery } from './attention-single.js'
import { emitQueries } from './attention-tiles.js'
import { stepKernel, type X64Context } from './context.js'
import { at, Label, type Memory, r9, r10, rax, rbp, rcx, rdx, rsi, rsp } from './operands.js'
import { kernel } from './parameters.js'
import { VectorConstants, type VectorMachine } from './vector-machine.js'

/**
 * The kernels of an attention in float32: new keys and values to the cache where there is one; then, for each sequence of the
 * run and each head, in tiles of queries and blocks of keys, with running maxima and sums.
 *
 * Source: Dao et al., FlashAttention-2 (2023), section 3.1.
 *
 * @throws TinsmithError `unsupported` where heads of keys and values do not divide those of queries
 */
export function attentionKernels(step: StepOf<'attention'>, { vectors }: X64Context): StepKernel<Uint8Array>[] {
  const { query, key, value, output, cache } = step
  const shape = shapeOf(step)
  const { keyValueHeads } = shape
  const words = {
    query: { address: query },
    queryStride: { stride: query },
    key: { address: key },
    keyStride: { stride: key },
    value: { address: value },
    valueStride: { stride: value },
    output: { address: output },
    outputStride: { stride: output },
    sequences: { sequences: true },
    sequenceCount: { rows: 'sequence' },
    scratch: { scratch: scratchLayout(shape, vectors).all },
    cacheKeys: cacheWord(cache, 'keys'),
    cacheValues: cacheWord(cache, 'values'),
  } as const
  const share = (part: number, parts: number) => {
    const [first, end] = [part, part + 1].map((each) => Math.floor((each * keyValueHeads) / parts))
    return { ...words, part, parts, firstKeyHead: first, keyHeads: end - first }
  }
  const attend = stepKernel({
    name: 'attention',
    shape: { machine: vectors.name, ...shape },
    code: () => attention(vectors, shape),
    parameters: attentionParameters,
    words: share(0, 1),
    split: share,
  })
  if (cache === undefined) return [attend]
  const columns = { keys: key.columns, values: value.columns }
  const append = stepKernel({
    name: 'append',
    shape: { machine: vectors.name, ...columns },
    code: () => appendToCache(vectors, columns),
    parameters: attentionParameters,
    words: share(0, 1),
  })
  return [append, attend]
}

function cacheWord(layer: number | undefined, part: 'keys' | 'values'): Word {
  return layer === undefined ? 0 : { cache: { layer, part } }
}

function shapeOf(step: StepOf<'attention'>): AttentionShape {
  const { name, query, value, heads, keyValueHeads, scale, causal, window, softCap, cache } = step
  if (heads % keyValueHeads) {
    throw unsupported(`The attention ${name} has ${heads} heads of queries, which ${keyValueHeads} heads of keys cannot share evenly`)
  }
  return {
    heads,
    keyValueHeads,
    headSize: query.columns / heads,
    valueSize: value.columns / keyValueHeads,
    scale,
    causal,
    window: causal ? window : undefined,
    softCap,
    cached: cache !== undefined,
  }
}

/** Code that appends the new keys and values to the caches. Called with `attentionParameters`, of which it needs those of keys and values. */
export function appendToCache(machine: VectorMachine, columns: { readonly keys: number; readonly values: number }): Uint8Array {
  const constants = new VectorConstants(machine)
  const lanes = new Lanes(constants, Object.values(columns))
  return kernel(
    frameBytes,
    (a) => {
      a.mov(rbp, rsp)
      emitSequences(a, lanes, (entry) => {
        for (const name of ['key', 'value'] as const) {
          const count = columns[`${name}s`]
          emitCacheStart(a, name, entry)
          a.mov(rcx, 4 * count)
          a.imul(rcx, entry('past'))
          a.add(r9, rcx)
          emitFirstRow(a, entry('first'), name)
          emitCopyRows(a, machine, lanes, count, attentionParameters.at(`${name}Stride`))
        }
      })
    },
    (a) => constants.place(a),
  )
}

/** Code of an attention, called with `attentionParameters`. */
export function attention(machine: VectorMachine, shape: AttentionShape): Uint8Array {
  const constants = new VectorConstants(machine)
  const lanes = new Lanes(constants, [shape.headSize, shape.valueSize])
  const queries = [1, 2].map((vectors) => ({ vectors, label: new Label() }))
  const single = new Label()
  return kernel(
    frameBytes,
    (a) => {
      const code = { a, shape, machine, lanes, constants }
      a.mov(rbp, rsp)
      a.mov(rax, attentionParameters.at('part'))
      a.inc(rax)
      a.mov(local('tilesUntilNext'), rax)
      emitSequences(a, lanes, (entry) => {
        for (const [head, name] of [
          ['headQuery', 'query'],
          ['headOutput', 'output'],
        ] as const) {
          emitFirstRow(a, entry('first'), name)
          a.mov(local(head), rax)
        }
        emitKeysAndValues(code, entry)
        emitHeads(code, single, queries[0].label, queries[1].label)
      })
    },
    (a) => {
      const code = { a, shape, machine, lanes, constants }
      emitSingleQuery(code, single)
      for (const { vectors, label } of queries) emitQueries(code, label, vectors)
      constants.place(a)
    },
  )
}

/** Where the table says something of a sequence. */
type Entry = (name: (typeof sequenceWords)[number]) => Memory

/** Walks the table of sequences; the body may not touch rsi before it has read the sequence's entry. */
function emitSequences(a: Assembler, lanes: Lanes, body: (entry: Entry) => void): void {
  const [next, skip, done] = [new Label(), new Label(), new Label()]
  const entry: Entry = (name) => at(rsi, 8 * sequenceWords.indexOf(name))
  lanes.prepare(a)
  move(a, local('table'), attentionParameters.at('sequences'))
  a.mov(rax, attentionParameters.at('sequenceCount'))
  a.test(rax, rax)
  a.je(done)
  a.mov(local('sequencesLeft'), rax)
  a.bind(next)
  a.mov(rsi, local('table'))
  a.mov(rax, entry('rows'))
  a.test(rax, rax)
  a.je(skip)
  a.mov(local('rows'), rax)
  a.mov(rcx, entry('past'))
  a.mov(local('past'), rcx)
  a.add(rax, rcx)
  a.mov(local('total'), rax)
  body(entry)
  a.bind(skip)
  add(a, 'table', 8 * sequenceWords.length)
  add(a, 'sequencesLeft', -1)
  a.jne(next)
  a.bind(done)
}

/** Sets rax to the address of the sequence's first row of a view. */
function emitFirstRow(a: Assembler, first: Memory, name: 'query' | 'key' | 'value' | 'output'): void {
  a.mov(rax, first)
  a.imul(rax, attentionParameters.at(`${name}Stride`))
  a.add(rax, attentionParameters.at(name))
}

/** Sets r9 to where the cache's keys or values of the layer begin. */
function emitCacheStart(a: Assembler, name: 'key' | 'value', entry: Entry): void {
  a.mov(r9, entry('capacity'))
  a.imul(r9, attentionParameters.at(name === 'key' ? 'cacheKeys' : 'cacheValues'))
  a.add(r9, entry('cache'))
}

/** Sets where keys and values are. */
function emitKeysAndValues({ a, shape }: AttentionCode, entry: Entry): void {
  for (const name of ['key', 'value'] as const) {
    const [head, stride] = name === 'key' ? (['headKeys', 'keyStride'] as const) : (['headValues', 'valueStride'] as const)
    if (shape.cached) {
      emitCacheStart(a, name, entry)
      a.mov(local(head), r9)
      a.mov(rcx, 4 * shape.keyValueHeads * (name === 'key' ? shape.headSize : shape.valueSize))
      a.mov(local(stride), rcx)
    } else {
      emitFirstRow(a, entry('first'), name)
      a.mov(local(head), rax)
      move(a, local(stride), attentionParameters.at(stride))
    }
  }
}

/** Copies the sequence's rows from rax, `stride` apart, to r9, one after the other. */
function emitCopyRows(a: Assembler, machine: VectorMachine, lanes: Lanes, columns: number, stride: Memory): void {
  const [nextRow, nextVector] = [new Label(), new Label()]
  const [vector, temporary] = machine.registers
  const part = columns % machine.lanes
  const wholeBytes = 4 * (columns - part)
  a.mov(rdx, local('rows'))
  a.bind(nextRow)
  if (wholeBytes) {
    a.xor(r10, r10)
    a.bind(nextVector)
    a.vmovups(vector, at(rax, 0, r10))
    a.vmovups(at(r9, 0, r10), vector)
    a.add(r10, machine.bytes)
    a.cmp(r10, wholeBytes)
    a.jl(nextVector)
  }
  if (part) {
    lanes.load(a, vector, at(rax, wholeBytes), part)
    lanes.store(a, at(r9, wholeBytes), vector, part, temporary)
  }
  a.add(rax, stride)
  a.add(r9, 4 * columns)
  a.dec(rdx)
  a.jne(nextRow)
}

/** Moves on to the first head that is this thread's. */
function emitFirstKeyHead(a: Assembler, { heads, keyValueHeads, headSize, valueSize }: AttentionShape): void {
  const group = heads / keyValueHeads
  for (const [name, columns] of [
    ['headQuery', group * headSize],
    ['headOutput', group * valueSize],
    ['headKeys', headSize],
    ['headValues', valueSize],
  ] as const) {
    a.imul(rax, attentionParameters.at('firstKeyHead'), 4 * columns)
    a.add(rax, local(name))
    a.mov(local(name), rax)
  }
}

/** Walks the heads: one query of all of them, or tiles of queries of one after the other. */
function emitHeads({ a, machine, shape }: AttentionCode, single: Label, few: Label, many: Label): void {
  const { headSize, valueSize, keyValueHeads } = shape
  const [nextKeys, nextHead, nextTile, wide, counted, several, done] = Array.from({ length: 7 }, () => new Label())
  a.mov(rax, local('rows'))
  a.cmp(rax, 1)
  a.jne(several)
  a.mov(rax, attentionParameters.at('keyHeads'))
  a.test(rax, rax)
  a.je(done)
  emitFirstKeyHead(a, shape)
  a.call(single)
  a.jmp(done)

  a.bind(several)
  a.mov(rax, keyValueHeads)
  a.mov(local('headsLeft'), rax)
  a.bind(nextKeys)
  a.mov(rax, shape.heads / keyValueHeads)
  a.mov(local('groupLeft'), rax)
  a.bind(nextHead)
  a.xor(rax, rax)
  a.mov(local('row'), rax)
  a.bind(nextTile)
  a.mov(rcx, local('rows'))
  a.sub(rcx, rax)
  a.mov(rdx, across * machine.lanes)
  a.cmp(rcx, rdx)
  a.cmovg(rcx, rdx)
  a.mov(local('count'), rcx)
  add(a, 'tilesUntilNext', -1)
  a.jne(counted)
  move(a, local('tilesUntilNext'), attentionParameters.at('parts'))
  a.cmp(rcx, machine.lanes)
  a.jg(wide)
  a.call(few)
  a.jmp(counted)
  a.bind(wide)
  a.call(many)
  a.bind(counted)
  a.mov(rax, local('row'))
  a.add(rax, local('count'))
  a.mov(local('row'), rax)
  a.cmp(rax, local('rows'))
  a.jl(nextTile)
  add(a, 'headQuery', 4 * headSize)
  add(a, 'headOutput', 4 * valueSize)
  add(a, 'groupLeft', -1)
  a.jne(nextHead)
  add(a, 'headKeys', 4 * headSize)
  add(a, 'headValues', 4 * valueSize)
  add(a, 'headsLeft', -1)
  a.jne(nextKeys)
  a.bind(done)
}
