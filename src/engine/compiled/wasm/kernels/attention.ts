import type { CachePart } from '../../plan/plan.js'
import type { StepOf } from '../../plan/steps.js'
import type { Word } from '../../program.js'
import type { FunctionBuilder, FunctionReference, Local } from '../function.js'
import type { ModuleBuilder } from '../module.js'
import { f32, f32x4, floats, i32, i32x4, integers, select, type Value, v128 } from '../values.js'
import { appendCodes } from './attention-codes.js'
import { eachKeyPanel, keyWidths, packKeys, packValues, valueWidth } from './attention-panels.js'
import { emitRangeOfKeys, joinRanges, rangeCount, rangeLayout, rangesWord, state } from './attention-ranges.js'
import { addValues, type HeadRows, scoresOfKeys } from './attention-single.js'
import { exponential, hyperbolicTangent } from './functions.js'
import {
  copies,
  eachChunk,
  eachRow,
  floatOf,
  kernel,
  larger,
  type RuleContext,
  reduce,
  rowsOf,
  smaller,
  storeFloats,
  type WasmKernel,
  walk,
} from './kernel.js'
import { type RotatedHeads, type RotationWords, rotatedHeads, rotateRows, rotationName, rotationWords } from './rotary.js'
import { eachSequence, sequenceTable } from './sequences.js'
import { callTile, noEpilogueArguments, productForms, type TileArguments } from './tile.js'

/** Queries and keys that are taken at a time: panels of the keys stay in the processor's own caches. */
const [queryBlock, keyBlock] = [64, 144]

/** What a score that does not count is, and below what no maximum goes. */
const [hidden, lowest] = [-1e30, -1e29]

/** Attention within each sequence; keys and values are added to their caches first. */
export function attention(step: StepOf<'attention'>, { constants }: Pick<RuleContext, 'constants'>): WasmKernel[] {
  if (step.cache === undefined) return [attend(step)]
  const append = step.cacheDtype === 'int8' ? appendCodes : appendFloats
  const ranges = rangesWord(step.heads, step.value.columns / step.keyValueHeads)
  const rotation = step.rotation && rotationWords(step.rotation, constants)
  const appended = [append(step, step.cache, 'keys', rotation), append(step, step.cache, 'values')]
  return [...appended, attend(step, ranges, rotation), joinRanges(step, ranges)]
}

/** Copies the rows of keys or values, rotated where `tables` are given, behind what lies in each sequence's cache. */
function appendFloats(step: StepOf<'attention'>, layer: number, part: CachePart, tables?: RotationWords): WasmKernel {
  const { key, value, keyValueHeads } = step
  const view = part === 'keys' ? key : value
  const { columns } = view
  const words: Record<string, Word> = { ...sequenceTable, ...rowsOf('input', view), unit: { cache: { layer, part } }, ...tables }
  const rotated = tables && rotatedHeads(step, keyValueHeads)
  return kernel(`append ${columns}${rotated ? ` in ${keyValueHeads}${rotationName(rotated)}` : ''}`, words, (f, w) => {
    const x = f.local('v128')
    const rowBytes = f.local('i32', i32.const(4 * columns))
    eachSequence(f, w.table, w.sequences, ({ first, rows, past, cache, capacity }) => {
      const row = f.local('i32', i32.add(w.input, i32.mul(first, w.inputStride)))
      const target = f.local('i32', i32.add(cache, i32.add(i32.mul(capacity, w.unit), i32.mul(past, 4 * columns))))
      if (rotated) {
        const numbers = f.local('i32', i32.add(w.numbers, i32.shl(first, 2)))
        rotateRows(f, rotated, w, { rows, numbers, from: row, fromStride: w.inputStride, to: target, toStride: rowBytes })
        return
      }
      eachRow(f, rows, [walk(row, w.inputStride), walk(target, rowBytes)], () => {
        const [from, to] = copies(f, row, target)
        eachChunk(f, columns, 4, [walk(from, 4), walk(to, 4)], (count) => {
          f.set(x, v128.load(from))
          f.do(...storeFloats(to, x, count))
        })
      })
    })
  })
}

/** Sizes of heads, and which scores count. */
export interface AttentionShape {
  readonly heads: number
  readonly keyValueHeads: number
  readonly size: number
  readonly valueSize: number
  readonly causal: boolean
  readonly window: number | undefined
  readonly softCap: number | undefined
  /** Of the heads of queries that share keys. */
  readonly rotated: RotatedHeads | undefined
  /** Whether keys and values are codes. */
  readonly coded: boolean
}

/** @param ranges where the sums of ranges of keys lie; with a cache */
function attend(step: StepOf<'attention'>, ranges?: Word, tables?: RotationWords): WasmKernel {
  const { query, key, value, heads, keyValueHeads, scale, causal, window, softCap, cache, cacheDtype, output } = step
  const sizes = { size: query.columns / heads, valueSize: value.columns / keyValueHeads }
  const coded = cache !== undefined && cacheDtype === 'int8'
  const group = heads / keyValueHeads
  const rotated = tables && rotatedHeads(step, group)
  const shape = { heads, keyValueHeads, ...sizes, causal, window, softCap, rotated, coded }
  const elementBytes = coded ? 1 : 4
  const cached = cache !== undefined
  const shareOf = (all: number, part: number, parts: number) => [part, part + 1].map((one) => Math.floor((one * all) / parts))
  /** Of several queries some of the key value heads; of one, all of them, over some of the ranges of keys. */
  const wordsOf = ([firstHead, endHead]: readonly number[], [firstRange, endRange]: readonly number[]): Record<string, Word> => ({
    ...sequenceTable,
    ...rowsOf('query', query),
    ...rowsOf('key', key),
    ...rowsOf('value', value),
    ...rowsOf('output', output),
    firstHead,
    endHead,
    ...(ranges !== undefined && { firstRange, endRange, ranges }),
    keysUnit: cached ? { cache: { layer: cache, part: 'keys' } } : 0,
    valuesUnit: cached ? { cache: { layer: cache, part: 'values' } } : 0,
    scale: { float: scale },
    keyPanels: { scratch: 4 * keyBlock * shape.size },
    valuePanels: { scratch: 4 * keyBlock * (shape.valueSize + keyWidths[0]) },
    scores: { scratch: Math.max(2, group) * 4 * keyBlock },
    states: { scratch: state.bytes * group * queryBlock },
    ...(tables && { ...tables, rotated: { scratch: 4 * queryBlock * group * shape.size + 16 } }),
  })
  const split = (part: number, parts: number) => {
    const [heads, keys] = [keyValueHeads, cached ? rangeCount : 0].map((all) => shareOf(all, part, parts))
    return heads[1] > heads[0] || keys[1] > keys[0] ? Object.values(wordsOf(heads, keys)) : null
  }
  const name = `attention ${heads}/${keyValueHeads} of ${shape.size}/${shape.valueSize}`
  const options = `${causal ? ' causal' : ''}${window ? ` window ${window}` : ''}${softCap ? ` cap ${softCap}` : ''}${cached ? ` ${cacheDtype ?? 'float32'} cache` : ''}${rotationName(rotated)}`
  const whole = kernel(name + options, wordsOf([0, keyValueHeads], [0, rangeCount]), (f, w) => {
    const keyBytes = f.local('i32', cached ? i32.const(elementBytes * key.columns) : w.keyStride)
    const valueBytes = f.local('i32', cached ? i32.const(elementBytes * value.columns) : w.valueStride)
    eachSequence(f, w.table, w.sequences, ({ first, rows, past, cache: start, capacity }) => {
      if (!cached) f.set(past, i32.const(0))
      const base = (unit: Local<'i32'>, address: Local<'i32'>, stride: Local<'i32'>) =>
        f.local('i32', cached ? i32.add(start, i32.mul(capacity, unit)) : i32.add(address, i32.mul(first, stride)))
      const scalesOf = (unit: Local<'i32'>, columns: number) => f.local('i32', i32.add(start, i32.mul(capacity, i32.add(unit, columns))))
      const scales = coded && {
        keys: scalesOf(w.keysUnit, key.columns),
        values: scalesOf(w.valuesUnit, value.columns),
        stride: f.local('i32', i32.shl(capacity, 2)),
      }
      const sequence: Sequence = {
        rows,
        past,
        query: f.local('i32', i32.add(w.query, i32.mul(first, w.queryStride))),
        output: f.local('i32', i32.add(w.output, i32.mul(first, w.outputStride))),
        keys: base(w.keysUnit, w.key, w.keyStride),
        values: base(w.valuesUnit, w.value, w.valueStride),
        keyBytes,
        valueBytes,
        ...(scales && { scales }),
        ...(rotated && { numbers: f.local('i32', i32.add(w.numbers, i32.shl(first, 2))) }),
      }
      if (!cached) {
        emitSequence(f, shape, w, sequence)
        return
      }
      const isSingle = f.local('i32', i32.eq(rows, 1))
      const range = f.local('i32', select(isSingle, w.firstRange, i32.const(0)))
      f.for(range, select(isSingle, w.endRange, i32.const(1)), 1, () => {
        const sums = f.local('i32', i32.add(w.ranges, i32.mul(range, rangeLayout(heads, shape.valueSize).bytes)))
        emitSequence(f, shape, w, { ...sequence, single: { isSingle, range, sums } })
      })
      f.add(w.ranges, rangeCount * rangeLayout(heads, shape.valueSize).bytes)
    })
  })
  return { ...whole, split }
}

type Words = Readonly<Record<string, Local<'i32'>>>
type Sequence = Readonly<Record<'rows' | 'past' | 'query' | 'output' | 'keys' | 'values' | 'keyBytes' | 'valueBytes', Local<'i32'>>> & {
  /** Of codes: those of the first head, and how far the next ones are. */
  readonly scales?: Readonly<Record<'keys' | 'values' | 'stride', Local<'i32'>>>
  /** By which queries are rotated. */
  readonly numbers?: Local<'i32'>
  /** Of one query: which range of keys, and where what it leaves lies. */
  readonly single?: Readonly<Record<'isSingle' | 'range' | 'sums', Local<'i32'>>>
}

/** Blocks of queries, heads that share keys, and blocks of keys. */
function emitSequence(f: FunctionBuilder, shape: AttentionShape, w: Words, s: Sequence): void {
  const { keyValueHeads, size, valueSize, causal, window, heads, coded } = shape
  const group = heads / keyValueHeads
  const elementBytes = coded ? 1 : 4
  const [queries, keyEnd, keyStart, firstKey, keys] = f.localsOf('i32', 5)
  const [query, output, headKeys, headValues] = f.localsOf('i32', 4)
  const done = f.local('i32', i32.const(0))
  const [head, firstHead, endHead] = copies(f, i32.const(0), w.firstHead, w.endHead)
  if (s.single) {
    f.if(s.single.isSingle, () => {
      f.set(firstHead, i32.const(0))
      f.set(endHead, i32.const(keyValueHeads))
    })
  }
  const moved = (place: Value<'i32'>, bytes: number) => i32.add(place, i32.mul(firstHead, bytes))
  f.for(done, s.rows, queryBlock, () => {
    f.set(queries, smaller(i32.sub(s.rows, done), i32.const(queryBlock)))
    f.set(keyEnd, i32.add(s.past, causal ? i32.add(done, queries) : s.rows))
    const start = i32.sub(i32.add(i32.add(s.past, done), 1), window ?? 0)
    f.set(keyStart, window ? larger(start, i32.const(0)) : i32.const(0))
    f.set(query, moved(i32.add(s.query, i32.mul(done, w.queryStride)), 4 * group * size))
    f.set(output, moved(i32.add(s.output, i32.mul(done, w.outputStride)), 4 * group * valueSize))
    f.set(headKeys, moved(s.keys, elementBytes * size))
    f.set(headValues, moved(s.values, elementBytes * valueSize))
    const [keyScales, valueScales] = s.scales
      ? [s.scales.keys, s.scales.values].map((scales) => f.local('i32', i32.add(scales, i32.mul(firstHead, s.scales!.stride))))
      : []
    if (s.single) {
      const { isSingle, range, sums } = s.single
      f.if(isSingle, () => {
        emitRangeOfKeys(f, range, keyStart, keyEnd)
        f.set(output, sums)
      })
    }
    f.set(head, firstHead)
    f.for(head, endHead, 1, () => {
      emitStart(f, w, { output, queries, columns: group * valueSize, states: group })
      const own = rotatedQueries(f, shape, w, { query, queries, numbers: s.numbers && i32.add(s.numbers, i32.shl(done, 2)) })
      f.set(firstKey, keyStart)
      f.for(firstKey, keyEnd, keyBlock, () => {
        f.set(keys, smaller(i32.sub(keyEnd, firstKey), i32.const(keyBlock)))
        const scalesAt = (scales: Local<'i32'> | undefined) => scales && i32.add(scales, i32.shl(firstKey, 2))
        const ofKeys = { from: i32.add(headKeys, i32.mul(firstKey, s.keyBytes)), scales: scalesAt(keyScales) }
        const ofValues = { from: i32.add(headValues, i32.mul(firstKey, s.valueBytes)), scales: scalesAt(valueScales) }
        // The place of the first query, counted from the block's first key.
        const place = f.local('i32', i32.sub(i32.add(s.past, done), firstKey))
        const byPanels = () => {
          packKeys(f, { ...ofKeys, stride: s.keyBytes, keys, size, panels: w.keyPanels })
          packValues(f, { ...ofValues, stride: s.valueBytes, keys, size: valueSize, panels: w.valuePanels, room: keyBlock })
          for (let member = 0; member < group; member++) {
            const from = { query: i32.add(own.query, 4 * member * size), output: i32.add(output, 4 * member * valueSize) }
            const states = i32.add(w.states, state.bytes * queryBlock * member)
            emitQueries(f, shape, { ...w, queryStride: own.stride }, { ...from, states, queries, keys, place })
          }
        }
        if (!s.single) {
          byPanels()
          return
        }
        const rows = {
          keys: { ...ofKeys, stride: s.keyBytes, keys, size },
          values: { ...ofValues, stride: s.valueBytes, keys, size: valueSize },
        }
        f.if(s.single.isSingle, () => emitSingleQuery(f, shape, w, { query: own.query, output, keys, place }, rows), byPanels)
      })
      const average = () => emitEnd(f, w, { output, queries, size: valueSize, group })
      if (s.single) {
        const kept = f.local(
          'i32',
          i32.add(i32.add(s.single.sums, rangeLayout(heads, valueSize).states), i32.mul(head, state.bytes * group)),
        )
        f.if(s.single.isSingle, () => emitKeep(f, w, kept, group), average)
      } else average()
      f.add(query, 4 * group * size)
      f.add(output, 4 * group * valueSize)
      f.add(headKeys, elementBytes * size)
      f.add(headValues, elementBytes * valueSize)
      if (keyScales) f.add(keyScales, s.scales!.stride)
      if (valueScales) f.add(valueScales, s.scales!.stride)
    })
  })
}

/** Where queries of the heads that share keys lie: where they did, or rotated. */
function rotatedQueries(
  f: FunctionBuilder,
  { rotated }: AttentionShape,
  w: Words,
  { query, queries, numbers }: { query: Local<'i32'>; queries: Local<'i32'>; numbers: Value<'i32'> | undefined },
): Readonly<Record<'query' | 'stride', Local<'i32'>>> {
  if (!rotated || !numbers) return { query, stride: w.queryStride }
  const stride = f.local('i32', i32.const(4 * rotated.heads * rotated.headSize))
  const [number, from, to] = copies(f, numbers, query, w.rotated)
  rotateRows(f, rotated, w, { rows: queries, numbers: number, from, fromStride: w.queryStride, to, toStride: stride })
  return { query: w.rotated, stride }
}

/** Nothing seen yet: outputs are zero. */
function emitStart(
  f: FunctionBuilder,
  w: Words,
  { output, queries, columns, states }: { output: Local<'i32'>; queries: Local<'i32'>; columns: number; states: number },
): void {
  const x = f.local('v128', floats(0))
  const [row] = copies(f, output)
  eachRow(f, queries, [walk(row, w.outputStride)], () => {
    const [at] = copies(f, row)
    eachChunk(f, columns, 4, [walk(at, 4)], (count) => f.do(...storeFloats(at, x, count)))
  })
  const at = f.local('i32', w.states)
  f.for(at, i32.add(w.states, state.bytes * queryBlock * states), state.bytes, () =>
    f.do(f32.store(at, lowest, state.highest), f32.store(at, 0, state.sum)),
  )
}

/** The states of one query's heads to where they are joined with those of other ranges. */
function emitKeep(f: FunctionBuilder, w: Words, kept: Local<'i32'>, group: number): void {
  for (let member = 0; member < group; member++) {
    const from = i32.add(w.states, state.bytes * queryBlock * member)
    for (const part of [state.highest, state.sum]) f.do(f32.store(kept, f32.load(from, part), state.bytes * member + part))
  }
}

/** Outputs over their sums. */
function emitEnd(
  f: FunctionBuilder,
  w: Words,
  { output, queries, size, group }: { output: Local<'i32'>; queries: Local<'i32'>; size: number; group: number },
): void {
  const [x, factor] = f.localsOf('v128', 2)
  const eight = f.local('i32', i32.const(state.bytes))
  for (let member = 0; member < group; member++) {
    const [row, sums] = copies(f, i32.add(output, 4 * member * size), i32.add(w.states, state.bytes * queryBlock * member))
    eachRow(f, queries, [walk(row, w.outputStride), walk(sums, eight)], () => {
      f.set(factor, f32x4.splat(f32.div(f32.const(1), f32.load(sums, state.sum))))
      const [at] = copies(f, row)
      eachChunk(f, size, 4, [walk(at, 4)], (count) => {
        f.set(x, f32x4.mul(v128.load(at), factor))
        f.do(...storeFloats(at, x, count))
      })
    })
  }
}

interface Queries {
  readonly query: Value<'i32'>
  readonly output: Value<'i32'>
  readonly states: Value<'i32'>
  readonly queries: Local<'i32'>
  readonly keys: Local<'i32'>
  readonly place: Local<'i32'>
}

/** The queries of a head against a block of keys, two at a time. */
function emitQueries(f: FunctionBuilder, shape: AttentionShape, w: Words, given: Queries): void {
  const [query, output, states, left, place] = copies(f, given.query, given.output, given.states, given.queries, given.place)
  const seen = f.local('i32')
  const rows = (count: 1 | 2, again: Value<'i32'>) =>
    f.while(again, () => {
      f.set(seen, shape.causal ? smaller(given.keys, i32.add(place, count)) : given.keys)
      f.if(i32.gt_s(seen, 0), () => emitRows(f, shape, w, { query, output, states, keys: given.keys, seen, place }, count))
      f.add(query, i32.mul(w.queryStride, count))
      f.add(output, i32.mul(w.outputStride, count))
      f.add(states, state.bytes * count)
      f.add(place, count)
      f.add(left, -count)
    })
  rows(2, i32.ge_s(left, 2))
  rows(1, left)
}

/** One query against a block of keys, for all heads that share these: they are read where they lie. */
function emitSingleQuery(
  f: FunctionBuilder,
  shape: AttentionShape,
  w: Words,
  { query, output, keys, place }: Readonly<Record<'query' | 'output' | 'keys' | 'place', Local<'i32'>>>,
  rows: Readonly<Record<'keys' | 'values', HeadRows>>,
): void {
  const { heads, keyValueHeads, valueSize } = shape
  const scores = { scores: w.scores, rowBytes: 4 * keyBlock, group: heads / keyValueHeads }
  scoresOfKeys(f, query, rows.keys, scores)
  const softmax = softmaxFunction(f.module, shape)
  for (let member = 0; member < scores.group; member++) {
    const ownState = i32.add(w.states, state.bytes * queryBlock * member)
    const ownOutput = i32.add(output, 4 * member * valueSize)
    f.do(f.call(softmax, [i32.add(w.scores, member * scores.rowBytes), keys, place, floatOf(w.scale), ownState, ownOutput]))
  }
  addValues(f, output, rows.values, scores)
}

type Rows = Readonly<Record<'query' | 'output' | 'states' | 'keys' | 'seen' | 'place', Local<'i32'>>>

/** Scores, their powers, and the values that they weigh. */
function emitRows(
  f: FunctionBuilder,
  shape: AttentionShape,
  w: Words,
  { query, output, states, keys, seen, place }: Rows,
  rows: 1 | 2,
): void {
  const { size, valueSize } = shape
  const form = productForms.float32
  const zero = f.local('i32', i32.const(0))
  const scoreStride = f.local('i32', i32.const(4 * keyBlock))
  const products: TileArguments = {
    groups: f.local('i32', i32.const(size)),
    input: query,
    inputStride: w.queryStride,
    panel: f.local('i32', w.keyPanels),
    output: f.local('i32', w.scores),
    outputStride: scoreStride,
    ...noEpilogueArguments(f),
  }
  const epilogue = { scale: 'bare', residual: false, relu: false } as const
  const unseen = f.local('i32', seen)
  eachKeyPanel(f, keys, (columns) => {
    f.if(i32.gt_s(unseen, 0), () => callTile(f, { form, epilogue, rows, columns }, products))
    f.add(unseen, -columns)
    f.add(products.panel, 4 * columns * size)
    f.add(products.output, 4 * columns)
  })
  const softmax = softmaxFunction(f.module, shape)
  for (let row = 0; row < rows; row++) {
    const scores = i32.add(w.scores, 4 * keyBlock * row)
    const ownState = i32.add(states, state.bytes * row)
    const ownOutput = i32.add(output, row ? w.outputStride : zero)
    f.do(f.call(softmax, [scores, seen, i32.add(place, row), floatOf(w.scale), ownState, ownOutput]))
  }
  const sums: TileArguments = {
    groups: seen,
    input: w.scores,
    inputStride: scoreStride,
    panel: f.local('i32', w.valuePanels),
    output: f.local('i32', output),
    outputStride: w.outputStride,
    ...noEpilogueArguments(f),
    residual: f.local('i32', output),
    residualStride: w.outputStride,
  }
  const width = valueWidth(valueSize)
  const weighed = { scale: 'bare', residual: true, relu: false } as const
  for (let first = 0; first < valueSize; first += width) {
    callTile(f, { form, epilogue: weighed, rows, columns: Math.min(width, valueSize - first) }, sums)
    f.add(sums.panel, 4 * keyBlock * width)
    f.add(sums.output, 4 * width)
    f.add(sums.residual, 4 * width)
  }
}

/**
 * A function (scores, keys, place, scale, state, output) that turns the scores of a query into powers, brings the query's state up to date
 * and the output into the new unit.
 */
function softmaxFunction(module: ModuleBuilder, { causal, window, softCap, valueSize }: AttentionShape): FunctionReference {
  const key = `softmax ${valueSize}${causal ? ' causal' : ''}${window ? ` window ${window}` : ''}${softCap ? ` cap ${softCap}` : ''}`
  return module.function(key, ['i32', 'i32', 'i32', 'f32', 'i32', 'i32'], [], (f) => {
    const [scores, keys, place, scale, states, output] = f.parameters as [
      Local<'i32'>,
      Local<'i32'>,
      Local<'i32'>,
      Local<'f32'>,
      Local<'i32'>,
      Local<'i32'>,
    ]
    const at = f.local('i32', scores)
    const end = f.local('i32', i32.add(scores, i32.shl(keys, 2)))
    const [x, highest, factor, index, last, sum] = f.localsOf('v128', 6)
    f.set(index, integers(0, 1, 2, 3))
    f.set(last, i32x4.splat(causal ? smaller(i32.sub(keys, 1), place) : i32.sub(keys, 1)))
    const first = window ? f.local('v128', i32x4.splat(i32.sub(place, window - 1))) : undefined
    f.set(factor, f32x4.splat(scale))
    f.set(highest, floats(lowest))
    f.for(at, end, 16, () => {
      f.set(x, f32x4.mul(v128.load(at), factor))
      if (softCap) f.set(x, f32x4.mul(hyperbolicTangent(f, f32x4.mul(x, f.floats(1 / softCap))), f.floats(softCap)))
      f.set(x, v128.bitselect(x, f.floats(hidden), i32x4.le_s(index, last)))
      if (first) f.set(x, v128.bitselect(x, f.floats(hidden), i32x4.ge_s(index, first)))
      f.set(highest, f32x4.pmax(highest, x))
      f.set(index, i32x4.add(index, f.integers(4)))
      f.do(v128.store(at, x))
    })
    const before = f.local('f32', f32.load(states, state.highest))
    const now = f.local('f32', f32.max(before, reduce(f, highest, f32.max)))
    f.set(highest, f32x4.splat(now))
    f.set(sum, floats(0))
    f.set(at, scores)
    f.for(at, end, 16, () => {
      f.set(x, exponential(f, f32x4.sub(v128.load(at), highest)))
      f.set(sum, f32x4.add(sum, x))
      f.do(v128.store(at, x))
    })
    f.set(factor, exponential(f, f32x4.splat(f32.sub(before, now))))
    const kept = f32.mul(f32.load(states, state.sum), f32x4.extract_lane(factor, 0))
    f.do(f32.store(states, f32.add(kept, reduce(f, sum, f32.add)), state.sum), f32.store(states, now, state.highest))
    const [target] = copies(f, output)
    eachChunk(f, valueSize, 4, [walk(target, 4)], (count) => {
      f.set(x, f32x4.mul(v128.load(target), factor))
      f.do(...storeFloats(target, x, count))
    })
  })
}
