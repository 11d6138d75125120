import type { StepOf, View } from '../../plan/steps.js'
import type { Word } from '../../program.js'
import type { FunctionBuilder, FunctionReference, Local } from '../function.js'
import type { ModuleBuilder } from '../module.js'
import { f32, f32x4, floats, i32, i32x4, integers, type Value, v128 } from '../values.js'
import { eachKeyPanel, keyWidths, packKeys, packValues, valueWidth } from './attention-panels.js'
import { exponential, hyperbolicTangent } from './functions.js'
import {
  copies,
  eachChunk,
  eachRow,
  floatOf,
  kernel,
  larger,
  reduce,
  rowsOf,
  smaller,
  storeFloats,
  type WasmKernel,
  walk,
} from './kernel.js'
import { eachSequence, sequenceTable } from './sequences.js'
import { callTile, productForms, type TileArguments } from './tile.js'

/** Queries and keys that are taken at a time: panels of the keys stay in the processor's own caches. */
const [queryBlock, keyBlock] = [64, 144]

/** What a score that does not count is, and below what no maximum goes. */
const [hidden, lowest] = [-1e30, -1e29]

/** Bytes of a query's state: the largest score so far, and the sum of powers relative to it. */
const state = { highest: 0, sum: 4, bytes: 8 } as const

/** Attention within each sequence; keys and values are added to their caches first. */
export function attention(step: StepOf<'attention'>): WasmKernel[] {
  return step.cache === undefined ? [attend(step)] : [append(step, step.cache, 'keys'), append(step, step.cache, 'values'), attend(step)]
}

/** Copies the rows of keys or values behind what lies in each sequence's cache. */
function append({ key, value }: StepOf<'attention'>, layer: number, part: 'keys' | 'values'): WasmKernel {
  const view = part === 'keys' ? key : value
  const { columns } = view
  const words = { ...sequenceTable, ...rowsOf('input', view), unit: { cache: { layer, part } } } as const
  return kernel(`append ${columns}`, words, (f, w) => {
    const x = f.local('v128')
    const rowBytes = f.local('i32', i32.const(4 * columns))
    eachSequence(f, w.table, w.sequences, ({ first, rows, past, cache, capacity }) => {
      const row = f.local('i32', i32.add(w.input, i32.mul(first, w.inputStride)))
      const target = f.local('i32', i32.add(cache, i32.add(i32.mul(capacity, w.unit), i32.mul(past, 4 * columns))))
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
}

function attend(step: StepOf<'attention'>): WasmKernel {
  const { query, key, value, heads, keyValueHeads, scale, causal, window, softCap, cache, output } = step
  const shape = { heads, keyValueHeads, size: query.columns / heads, valueSize: value.columns / keyValueHeads, causal, window, softCap }
  const group = heads / keyValueHeads
  const cached = cache !== undefined
  /** Some of the key value heads, with the queries that read them. */
  const wordsOf = (first: number, count: number): Record<string, Word> => ({
    ...sequenceTable,
    ...rowsOf('query', moved(query, first * group * shape.size)),
    ...rowsOf('key', moved(key, first * shape.size)),
    ...rowsOf('value', moved(value, first * shape.valueSize)),
    ...rowsOf('output', moved(output, first * group * shape.valueSize)),
    count,
    cachedKey: 4 * first * shape.size,
    cachedValue: 4 * first * shape.valueSize,
    keysUnit: cached ? { cache: { layer: cache, part: 'keys' } } : 0,
    valuesUnit: cached ? { cache: { layer: cache, part: 'values' } } : 0,
    scale: { float: scale },
    keyPanels: { scratch: 4 * keyBlock * shape.size },
    valuePanels: { scratch: 4 * keyBlock * (shape.valueSize + keyWidths[0]) },
    scores: { scratch: 2 * 4 * keyBlock },
    states: { scratch: state.bytes * group * queryBlock },
  })
  const split = (part: number, parts: number) => {
    const [first, end] = [part, part + 1].map((one) => Math.floor((one * keyValueHeads) / parts))
    return end > first ? Object.values(wordsOf(first, end - first)) : null
  }
  const name = `attention ${heads}/${keyValueHeads} of ${shape.size}/${shape.valueSize}`
  const options = `${causal ? ' causal' : ''}${window ? ` window ${window}` : ''}${softCap ? ` cap ${softCap}` : ''}${cached ? ' cache' : ''}`
  const whole = kernel(name + options, wordsOf(0, keyValueHeads), (f, w) => {
    const keyBytes = f.local('i32', cached ? i32.const(4 * key.columns) : w.keyStride)
    const valueBytes = f.local('i32', cached ? i32.const(4 * value.columns) : w.valueStride)
    eachSequence(f, w.table, w.sequences, ({ first, rows, past, cache: start, capacity }) => {
      if (!cached) f.set(past, i32.const(0))
      const base = (unit: Local<'i32'>, head: Local<'i32'>, address: Local<'i32'>, stride: Local<'i32'>) =>
        f.local('i32', cached ? i32.add(i32.add(start, head), i32.mul(capacity, unit)) : i32.add(address, i32.mul(first, stride)))
      const sequence: Sequence = {
        rows,
        past,
        query: f.local('i32', i32.add(w.query, i32.mul(first, w.queryStride))),
        output: f.local('i32', i32.add(w.output, i32.mul(first, w.outputStride))),
        keys: base(w.keysUnit, w.cachedKey, w.key, w.keyStride),
        values: base(w.valuesUnit, w.cachedValue, w.value, w.valueStride),
        keyBytes,
        valueBytes,
      }
      emitSequence(f, shape, w, sequence)
    })
  })
  return { ...whole, split }
}

/** A view from one of its columns on. */
function moved(view: View, columns: number): View {
  return { ...view, column: view.column + columns, columns: view.columns - columns }
}

type Words = Readonly<Record<string, Local<'i32'>>>
type Sequence = Readonly<Record<'rows' | 'past' | 'query' | 'output' | 'keys' | 'values' | 'keyBytes' | 'valueBytes', Local<'i32'>>>

/** Blocks of queries, heads that share keys, and blocks of keys. */
function emitSequence(f: FunctionBuilder, shape: AttentionShape, w: Words, s: Sequence): void {
  const { keyValueHeads, size, valueSize, causal, window, heads } = shape
  const group = heads / keyValueHeads
  const [queries, keyEnd, keyStart, firstKey, keys] = f.localsOf('i32', 5)
  const [query, output, headKeys, headValues] = f.localsOf('i32', 4)
  const done = f.local('i32', i32.const(0))
  f.for(done, s.rows, queryBlock, () => {
    f.set(queries, smaller(i32.sub(s.rows, done), i32.const(queryBlock)))
    f.set(keyEnd, i32.add(s.past, causal ? i32.add(done, queries) : s.rows))
    const start = i32.sub(i32.add(i32.add(s.past, done), 1), window ?? 0)
    f.set(keyStart, window ? larger(start, i32.const(0)) : i32.const(0))
    f.set(query, i32.add(s.query, i32.mul(done, w.queryStride)))
    f.set(output, i32.add(s.output, i32.mul(done, w.outputStride)))
    f.set(headKeys, s.keys)
    f.set(headValues, s.values)
    const head = f.local('i32', i32.const(0))
    f.for(head, w.count, 1, () => {
      emitStart(f, w, { output, queries, columns: group * valueSize, states: group })
      f.set(firstKey, keyStart)
      f.for(firstKey, keyEnd, keyBlock, () => {
        f.set(keys, smaller(i32.sub(keyEnd, firstKey), i32.const(keyBlock)))
        packKeys(f, { from: i32.add(headKeys, i32.mul(firstKey, s.keyBytes)), stride: s.keyBytes, keys, size, panels: w.keyPanels })
        const values = i32.add(headValues, i32.mul(firstKey, s.valueBytes))
        packValues(f, { from: values, stride: s.valueBytes, keys, size: valueSize, panels: w.valuePanels, room: keyBlock })
        // The place of the first query, counted from the block's first key.
        const place = f.local('i32', i32.sub(i32.add(s.past, done), firstKey))
        for (let member = 0; member < group; member++) {
          const from = { query: i32.add(query, 4 * member * size), output: i32.add(output, 4 * member * valueSize) }
          const states = i32.add(w.states, state.bytes * queryBlock * member)
          emitQueries(f, shape, w, { ...from, states, queries, keys, place })
        }
      })
      emitEnd(f, w, { output, queries, size: valueSize, group })
      f.add(query, 4 * group * size)
      f.add(output, 4 * group * valueSize)
      f.add(headKeys, 4 * size)
      f.add(headValues, 4 * valueSize)
    })
  })
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
  const nothing = { residual: zero, residualStride: zero, row: zero, rowStride: zero }
  const products: TileArguments = {
    groups: f.local('i32', i32.const(size)),
    input: query,
    inputStride: w.queryStride,
    panel: f.local('i32', w.keyPanels),
    output: f.local('i32', w.scores),
    outputStride: scoreStride,
    ...nothing,
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
    ...nothing,
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
