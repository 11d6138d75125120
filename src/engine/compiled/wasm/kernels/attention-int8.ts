import { roundUp, type StepOf } from '../../plan/steps.js'
import type { Word } from '../../program.js'
import { exponentsPerOctave } from '../../reference/attention-int8.js'
import type { FunctionBuilder, Local } from '../function.js'
import { f32x4, i32, type Value, v128 } from '../values.js'
import type { AttentionShape } from './attention.js'
import { keyPanelBytes, packKeys, packQuery, packValues, panelColumns, queryBytes, scaleQueries } from './attention-int8-codes.js'
import { hidden, softmaxOfCodes } from './attention-int8-softmax.js'
import { copies, eachChunk, floatOf, kernel, larger, type RuleContext, rowsOf, storeFloats, type WasmKernel, walk } from './kernel.js'
import { eachSequence, sequenceTable } from './sequences.js'
import { callTile, noEpilogueArguments, type ProductForm, productForms, type TileArguments } from './tile.js'

type Shape = Omit<AttentionShape, 'softCap' | 'rotated' | 'coded'> & { readonly form: ProductForm }

/** Queries that are taken at a time. */
const tileRows = 2

/** In front of scores and behind each row of them: what masks may write. */
const margin = 4 * panelColumns

/** Bytes of memory for each token, by what it holds; and beyond those of tokens: sequences are rounded up to whole panels of keys. */
function layoutOf({ form, size, valueSize }: Shape) {
  const perKey = {
    keys: keyPanelBytes(form, size) / panelColumns,
    values: (4 * 4 * Math.ceil(valueSize / 4)) / form.group,
    scores: 4,
    weights: form.inputBytes,
  }
  const perToken = perKey.keys + perKey.values + tileRows * (perKey.scores + perKey.weights)
  return { perKey, perToken, beyond: roundUp((panelColumns - 1) * perToken + (tileRows + 1) * margin, 64) }
}

/**
 * Attention by products of codes: for each sequence and each head of keys, codes of keys and values in panels; for each head of queries that reads
 * them, two queries at a time, all scores, weights, and sums of values. Threads share heads of keys.
 */
export function int8Attention(step: StepOf<'attention'>, { features, threads }: Pick<RuleContext, 'features' | 'threads'>): WasmKernel {
  const { query, key, value, heads, keyValueHeads, scale, causal, window, output } = step
  const form = productForms.attention[features.dot]
  const sizes = { size: query.columns / heads, valueSize: value.columns / keyValueHeads }
  const shape = { form, heads, keyValueHeads, ...sizes, causal, window: causal ? window : undefined }
  const { perToken, beyond } = layoutOf(shape)
  const columns = { scratch: 4 * roundUp(sizes.size, 4) }
  const words = {
    ...sequenceTable,
    ...rowsOf('query', query),
    ...rowsOf('key', key),
    ...rowsOf('value', value),
    ...rowsOf('output', output),
    tokens: { rows: 'token' },
    unit: { float: scale * Math.LOG2E * exponentsPerOctave },
    codes: { scratch: threads * perToken, per: 'token', beyond: threads * beyond, shared: true },
    factors: columns,
    multipliers: { ...columns },
    scales: { scratch: 4 * roundUp(sizes.valueSize, 4) },
    queries: { scratch: tileRows * queryBytes(form, sizes.size) },
  } as const satisfies Record<string, Word>
  const wordsOf = (part: number, parts: number) => {
    const [firstHead, endHead] = [part, part + 1].map((one) => Math.floor((one * keyValueHeads) / parts))
    return { ...words, part, firstHead, endHead }
  }
  const split = (part: number, parts: number) => {
    const own = wordsOf(part, parts)
    return own.endHead > own.firstHead ? Object.values(own) : null
  }
  const name = `attention of ${form.name} ${heads}/${keyValueHeads} of ${sizes.size}/${sizes.valueSize}`
  const options = `${causal ? ' causal' : ''}${shape.window ? ` window ${window}` : ''}`
  const whole = kernel(name + options, wordsOf(0, 1), (f, w) => {
    const start = f.local('i32', i32.add(w.codes, i32.mul(w.part, i32.add(i32.mul(w.tokens, perToken), beyond))))
    eachSequence(f, w.table, w.sequences, ({ first, rows }) => {
      f.if(rows, () => emitSequence(f, shape, w, start, first, rows))
    })
  })
  return { ...whole, split }
}

type Words = Readonly<Record<string, Local<'i32'>>>

/** What the heads of a sequence use one after the other. */
type Sequence = Readonly<
  Record<'rows' | 'keyPanels' | 'valuePanels' | 'valueBytes' | 'scores' | 'scoreStride' | 'weights' | 'weightStride', Local<'i32'>>
>

function emitSequence(f: FunctionBuilder, shape: Shape, w: Words, start: Local<'i32'>, first: Local<'i32'>, rows: Local<'i32'>): void {
  const { form, heads, keyValueHeads, size, valueSize } = shape
  const { perKey } = layoutOf(shape)
  const group = heads / keyValueHeads
  const keys = f.local('i32', i32.and(i32.add(rows, panelColumns - 1), -panelColumns))
  const valueBytes = f.local('i32', i32.mul(keys, (4 * panelColumns) / form.group))
  const valuePanels = f.local('i32', i32.add(start, i32.mul(keys, perKey.keys)))
  const scores = f.local('i32', i32.add(i32.add(valuePanels, i32.mul(keys, perKey.values)), margin))
  const scoreStride = f.local('i32', i32.add(i32.mul(keys, perKey.scores), margin))
  const weights = f.local('i32', i32.add(scores, i32.mul(scoreStride, tileRows)))
  const weightStride = f.local('i32', i32.mul(keys, perKey.weights))
  const s: Sequence = { rows, keyPanels: start, valuePanels, valueBytes, scores, scoreStride, weights, weightStride }
  const headOf = (name: 'query' | 'key' | 'value' | 'output', headColumns: number) =>
    f.local('i32', i32.add(i32.add(w[name], i32.mul(first, w[`${name}Stride`])), i32.mul(w.firstHead, 4 * headColumns)))
  const head = f.local('i32', w.firstHead)
  const [query, output] = [headOf('query', group * size), headOf('output', group * valueSize)]
  const [headKeys, headValues] = [headOf('key', size), headOf('value', valueSize)]
  const member = f.local('i32')
  f.for(head, w.endHead, 1, () => {
    const [ofKeys, ofValues] = [
      { from: headKeys, stride: w.keyStride, rows, columns: size },
      { from: headValues, stride: w.valueStride, rows, columns: valueSize },
    ]
    packKeys(f, form, ofKeys, { unit: floatOf(w.unit), factors: w.factors, panels: s.keyPanels })
    packValues(f, form, ofValues, { scales: w.scales, panels: s.valuePanels, panelBytes: valueBytes })
    f.set(member, i32.const(group))
    f.while(member, () => {
      const factor = scaleQueries(f, { from: query, stride: w.queryStride, rows, columns: size }, w.factors, w.multipliers)
      emitQueries(f, shape, w, s, { query, output, factor })
      f.add(query, 4 * size)
      f.add(output, 4 * valueSize)
      f.add(member, -1)
    })
    f.add(headKeys, 4 * size)
    f.add(headValues, 4 * valueSize)
  })
}

interface Head extends Readonly<Record<'query' | 'output', Local<'i32'>>> {
  readonly factor: Local<'f32'>
}

/** The queries of a head, two at a time. */
function emitQueries(f: FunctionBuilder, shape: Shape, w: Words, s: Sequence, head: Head): void {
  const [query, output, row] = copies(f, head.query, head.output, i32.const(0))
  const tiles = (count: number) =>
    f.while(i32.le_s(row, i32.sub(s.rows, count)), () => {
      emitTile(f, shape, w, s, { query, output, row, factor: head.factor }, count)
      f.add(query, i32.mul(w.queryStride, count))
      f.add(output, i32.mul(w.outputStride, count))
      f.add(row, count)
    })
  tiles(tileRows)
  tiles(1)
}

/** Scores, weights, and sums of values of so many queries. */
function emitTile(
  f: FunctionBuilder,
  shape: Shape,
  w: Words,
  s: Sequence,
  tile: Head & { readonly row: Local<'i32'> },
  count: number,
): void {
  const { form, size, valueSize, causal, window } = shape
  const codeBytes = queryBytes(form, size)
  const rows = Array.from({ length: count }, (_, i) => i)
  const startOf = (row: number) => larger(i32.const(0), i32.add(tile.row, row + 1 - window!))
  const first = f.local('i32', window ? i32.and(startOf(0), -panelColumns) : i32.const(0))
  const end = f.local('i32', causal ? i32.add(tile.row, count) : s.rows)
  const keys = f.local('i32', i32.and(i32.add(i32.sub(end, first), panelColumns - 1), -panelColumns))
  for (const row of rows)
    packQuery(f, form, size, i32.add(tile.query, i32.mul(w.queryStride, row)), w.multipliers, i32.add(w.queries, row * codeBytes))
  emitScores(f, shape, w, s, { first, keys }, count)
  const softmax = softmaxOfCodes(f.module, form)
  const inverses = rows.map((row) => {
    const scores = f.local('i32', i32.add(s.scores, i32.mul(s.scoreStride, row)))
    const hide = (place: Value<'i32'>) => {
      const at = f.local('i32', i32.add(scores, i32.shl(place, 2)))
      for (let byte = 0; byte < margin; byte += 16) f.do(v128.store(at, f.integers(hidden), byte))
    }
    hide(causal ? i32.add(tile.row, row + 1) : end)
    if (window) hide(i32.sub(startOf(row), panelColumns))
    const weights = i32.add(i32.add(s.weights, i32.mul(s.weightStride, row)), i32.mul(first, form.inputBytes))
    return f.local('f32', f.call<'f32'>(softmax, [i32.add(scores, i32.shl(first, 2)), keys, tile.factor, weights]))
  })
  emitSums(f, shape, w, s, { first, end, output: tile.output }, count)
  for (const [row, inverse] of inverses.entries()) {
    const factor = f.local('v128', f32x4.splat(inverse))
    const x = f.local('v128')
    const [at, scale] = copies(f, i32.add(tile.output, i32.mul(w.outputStride, row)), w.scales)
    eachChunk(f, valueSize, 4, [walk(at, 4), walk(scale, 4)], (columns) => {
      f.set(x, f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(v128.load(at)), factor), v128.load(scale)))
      f.do(...storeFloats(at, x, columns))
    })
  }
}

/** Scores of keys from `first` on, so many. */
function emitScores(
  f: FunctionBuilder,
  { form, size }: Shape,
  w: Words,
  s: Sequence,
  { first, keys }: Readonly<Record<'first' | 'keys', Local<'i32'>>>,
  rows: number,
): void {
  const panelBytes = keyPanelBytes(form, size)
  const products: TileArguments = {
    groups: f.local('i32', i32.const(Math.ceil(size / form.group))),
    input: w.queries,
    inputStride: f.local('i32', i32.const(queryBytes(form, size))),
    panel: f.local('i32', i32.add(s.keyPanels, i32.mul(first, panelBytes / panelColumns))),
    output: f.local('i32', i32.add(s.scores, i32.shl(first, 2))),
    outputStride: s.scoreStride,
    ...noEpilogueArguments(f),
  }
  const left = f.local('i32', keys)
  const scale = form.inputBytes === 1 ? 'none' : 'bare'
  f.while(left, () => {
    callTile(f, { form, epilogue: { scale, residual: false }, rows, columns: panelColumns }, products)
    f.add(products.panel, panelBytes)
    f.add(products.output, 4 * panelColumns)
    f.add(left, -panelColumns)
  })
}

/** Sums of products of weights and codes of values, integers, to the output. */
function emitSums(
  f: FunctionBuilder,
  { form, valueSize }: Shape,
  w: Words,
  s: Sequence,
  { first, end, output }: Readonly<Record<'first' | 'end' | 'output', Local<'i32'>>>,
  rows: number,
): void {
  const firstGroup = i32.div_u(first, i32.const(form.group))
  const sums: TileArguments = {
    groups: f.local('i32', i32.sub(i32.div_u(i32.add(end, form.group - 1), i32.const(form.group)), firstGroup)),
    input: f.local('i32', i32.add(s.weights, i32.mul(first, form.inputBytes))),
    inputStride: s.weightStride,
    panel: f.local('i32', s.valuePanels),
    output: f.local('i32', output),
    outputStride: w.outputStride,
    ...noEpilogueArguments(f),
  }
  eachChunk(f, valueSize, panelColumns, [walk(sums.output, 4)], (columns) => {
    const panel = f.local('i32', i32.add(sums.panel, i32.mul(firstGroup, 16 * Math.ceil(columns / 4))))
    callTile(f, { form, epilogue: { scale: 'bare', residual: false }, rows, columns }, { ...sums, panel })
    f.add(sums.panel, s.valueBytes)
  })
}
