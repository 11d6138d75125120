import { unsupported } from '../../../base/errors.js'
import type { StepOf } from '../plan/steps.js'
import type { StepKernel, Word } from '../program.js'
import type { Assembler } from './assembler.js'
import { emitQuantizeRows, emitScaleStart } from './attention-codes.js'
import {
  type AttentionCode,
  type AttentionShape,
  across,
  add,
  attentionParameters,
  attentionWords,
  elementBytes,
  local,
  move,
  rangeLayout,
  scratchLayout,
} from './attention-frame.js'
import { int8AttentionKernel } from './attention-int8.js'
import type { Lanes } from './attention-lanes.js'
import { emitFirstSums, emitJoin } from './attention-ranges.js'
import { emitFirstNumber, emitRotatedKeys, rotaryLengths } from './attention-rotary.js'
import {
  attentionKernel,
  type Entry,
  emitFirstHeads,
  emitFirstPiece,
  emitFirstRow,
  emitSequences,
  emitUnlessOther,
} from './attention-sequences.js'
import { emitSingleQuery } from './attention-single.js'
import { emitQueries } from './attention-tiles.js'
import { stepKernel, type X64Context } from './context.js'
import { at, Label, type Memory, r9, r10, r11, rax, rcx, rdx } from './operands.js'
import type { RotationWords } from './rotary.js'
import type { VectorMachine } from './vector-machine.js'

/**
 * The kernels of an attention in float32: new keys and values to the cache where there is one, there perhaps as codes; then, for each sequence
 * of the run and each head, in tiles of queries and blocks of keys, with running maxima and sums; then, behind a cache, what threads have left of
 * ranges of the keys of one query is put together. Codes become float32 on the way: products in integers would gain nothing at memory speed.
 *
 * Source: Dao et al., FlashAttention-2 (2023), section 3.1.
 *
 * @param rotation the numbers of tokens and the tables, where the step rotates
 * @throws TinsmithError `unsupported` where heads of keys and values do not divide those of queries
 */
export function attentionKernels(step: StepOf<'attention'>, context: X64Context, rotation?: RotationWords): StepKernel<Uint8Array>[] {
  const { cache } = step
  const { vectors, threads } = context
  const shape = shapeOf(step)
  if (step.products === 'int8') return [int8AttentionKernel(step, shape, context)]
  const { heads } = shape
  const sumBytes = rangeLayout(shape, vectors).all
  // Ranges do not depend on how many threads find the time: neither do results.
  const allRanges = cache === undefined ? 1 : threads
  const ranges: Word = cache === undefined ? { scratch: sumBytes } : { scratch: threads * sumBytes, per: 'sequence', shared: true }
  const words = {
    ...attentionWords(step),
    scratch: { scratch: scratchLayout(shape, vectors).all },
    cacheKeys: cacheWord(cache, 'keys'),
    cacheValues: cacheWord(cache, 'values'),
    ranges,
    allRanges,
    ...rotation,
    ...(rotation && shape.cache === 'int8' && { rotatedKeys: { scratch: 4 * step.key.columns, per: 'token' } as const }),
  } as const
  const share = (part: number, parts: number) => {
    const shareOf = (all: number) => [part, part + 1].map((each) => Math.floor((each * all) / parts))
    const [firstRange, endRange] = shareOf(allRanges)
    const [firstHead, endHead] = cache === undefined ? [0, firstRange < endRange ? heads : 0] : shareOf(heads)
    return { ...words, part, parts, firstRange, ownRanges: endRange - firstRange, firstHead, headCount: endHead - firstHead }
  }
  const kernelOf = (name: string, depends: object, code: () => Uint8Array, isSplit: boolean) =>
    stepKernel({
      name,
      shape: { machine: vectors.name, ...depends },
      code,
      parameters: attentionParameters,
      words: share(0, 1),
      ...(isSplit && { split: share }),
    })
  const attend = kernelOf('attention', shape, () => attention(vectors, shape), true)
  if (cache === undefined) return [attend]
  const { keyValueHeads, headSize, valueSize } = shape
  const kept = { dtype: shape.cache, keyValueHeads, headSize, valueSize, rotation: shape.rotation }
  return [
    kernelOf('append', kept, () => appendToCache(vectors, shape), false),
    attend,
    kernelOf('attention-ranges', { heads, valueSize }, () => joinRanges(vectors, shape), true),
  ]
}

function cacheWord(layer: number | undefined, part: 'keys' | 'values'): Word {
  return layer === undefined ? 0 : { cache: { layer, part } }
}

function shapeOf(step: StepOf<'attention'>): AttentionShape {
  const { name, query, value, heads, keyValueHeads, scale, causal, window, softCap, rotation, cache, cacheDtype = 'float32' } = step
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
    rotation: rotation && { rotary: rotation.rotary, interleaved: rotation.interleaved },
    cache: cache === undefined ? undefined : cacheDtype,
  }
}

/** Code that appends the new keys and values to the caches. Called with `attentionParameters`, of which it needs those of keys and values. */
export function appendToCache(machine: VectorMachine, shape: AttentionShape): Uint8Array {
  const { keyValueHeads, headSize, valueSize, cache } = shape
  const sizes = { key: headSize, value: valueSize }
  return attentionKernel(machine, [keyValueHeads * headSize, keyValueHeads * valueSize, ...rotaryLengths(shape)], shape, (code) => {
    const { a, lanes } = code
    emitSequences(a, lanes, (entry) => {
      for (const name of ['key', 'value'] as const) {
        const columns = keyValueHeads * sizes[name]
        const stride = attentionParameters.at(`${name}Stride`)
        emitCacheStart(a, name, entry)
        if (cache === 'int8') {
          emitScaleStart(code, columns, entry('capacity'))
          a.mov(rcx, entry('past'))
          a.lea(r11, at(r11, 0, rcx, 4))
        }
        a.mov(rcx, elementBytes(shape) * columns)
        a.imul(rcx, entry('past'))
        a.add(r9, rcx)
        emitFirstRow(a, entry('first'), name)
        if (name === 'key' && shape.rotation) emitRotatedKeys(code, entry)
        else if (cache === 'int8') emitQuantizeRows(code, sizes[name], stride)
        else emitCopyRows(a, machine, lanes, columns, stride)
      }
    })
  })
}

/** Code that puts together what ranges of keys have left of sequences with one query. Called with `attentionParameters`. */
export function joinRanges(machine: VectorMachine, shape: AttentionShape): Uint8Array {
  return attentionKernel(machine, [shape.valueSize], shape, (code) => {
    const { a, lanes } = code
    emitSequences(a, lanes, (entry) => {
      const done = new Label()
      a.mov(rax, local('rows'))
      a.cmp(rax, 1)
      a.jne(done)
      emitFirstHeads(a, entry('first'), ['output'])
      emitFirstSums(code)
      emitJoin(code)
      a.bind(done)
    })
  })
}

/** Code of an attention, called with `attentionParameters`. */
export function attention(machine: VectorMachine, shape: AttentionShape): Uint8Array {
  const queries = [1, 2].map((vectors) => ({ vectors, label: new Label() }))
  const single = new Label()
  return attentionKernel(
    machine,
    [shape.headSize, shape.valueSize, ...rotaryLengths(shape)],
    shape,
    (code) => {
      const { a, lanes } = code
      emitFirstPiece(a)
      emitSequences(a, lanes, (entry) => {
        emitFirstHeads(a, entry('first'), ['query', 'output'])
        emitFirstNumber(code, entry)
        emitKeysAndValues(code, entry)
        emitHeads(code, single, queries[0].label, queries[1].label)
      })
    },
    (code) => {
      emitSingleQuery(code, single)
      for (const { vectors, label } of queries) emitQueries(code, label, vectors)
    },
  )
}

/** Sets r9 to where the cache's keys or values of the layer begin. */
function emitCacheStart(a: Assembler, name: 'key' | 'value', entry: Entry): void {
  a.mov(r9, entry('capacity'))
  a.imul(r9, attentionParameters.at(name === 'key' ? 'cacheKeys' : 'cacheValues'))
  a.add(r9, entry('cache'))
}

/** Sets where keys and values are. */
function emitKeysAndValues(code: AttentionCode, entry: Entry): void {
  const { a, shape } = code
  for (const name of ['key', 'value'] as const) {
    const [head, stride] = name === 'key' ? (['headKeys', 'keyStride'] as const) : (['headValues', 'valueStride'] as const)
    if (shape.cache) {
      const columns = shape.keyValueHeads * (name === 'key' ? shape.headSize : shape.valueSize)
      emitCacheStart(a, name, entry)
      a.mov(local(head), r9)
      a.mov(rcx, elementBytes(shape) * columns)
      a.mov(local(stride), rcx)
      if (shape.cache === 'int8') {
        emitScaleStart(code, columns, entry('capacity'))
        a.mov(local(`${name}Scales`), r11)
      }
    } else {
      emitFirstHeads(a, entry('first'), [name])
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

/** Walks the heads: one query of all of them, or tiles of queries of one after the other. */
function emitHeads(code: AttentionCode, single: Label, few: Label, many: Label): void {
  const { a, machine, shape } = code
  const { headSize, valueSize, keyValueHeads } = shape
  const [nextKeys, nextHead, nextTile, wide, counted, several, done] = Array.from({ length: 7 }, () => new Label())
  a.mov(rax, local('rows'))
  a.cmp(rax, 1)
  a.jne(several)
  emitFirstSums(code)
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
  emitUnlessOther(a, counted)
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
  add(a, 'headKeys', elementBytes(shape) * headSize)
  add(a, 'headValues', elementBytes(shape) * valueSize)
  if (shape.cache === 'int8') {
    a.mov(rcx, local('scaleStride'))
    a.add(local('keyScales'), rcx)
    a.add(local('valueScales'), rcx)
  }
  add(a, 'headsLeft', -1)
  a.jne(nextKeys)
  a.bind(done)
}
