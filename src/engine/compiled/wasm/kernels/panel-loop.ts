import { type ActivationFunction, partsOf, type StepOf } from '../../plan/steps.js'
import type { Word } from '../../program.js'
import type { FunctionBuilder, Local } from '../function.js'
import { f32x4, i32, type Value, v128 } from '../values.js'
import { activationFunctions } from './functions.js'
import { copies, eachChunk, eachRow, kernel, rowsOf, smaller, storeFloats, type WasmKernel, walk } from './kernel.js'

export type Words = Readonly<Record<string, Local<'i32'>>>

/** Pointers of a tile: its first row in what is read and written, and how far it is from row to row. */
export type TilePointers = Readonly<
  Record<'input' | 'inputStride' | 'panel' | 'output' | 'outputStride' | 'residual' | 'residualStride' | 'row' | 'rowStride', Local<'i32'>>
>

/** A product with packed weights: what differs from one kind of weights to another. */
export interface PanelProduct {
  readonly key: string
  /** Columns of a panel, and rows of its largest tile. */
  readonly columns: number
  readonly tileRows: number
  /** Panels of equal size; the last may be filled partly. Those of the parts of a weight's columns take turns. */
  readonly panels: ArrayBufferView
  /** Bytes of a row of activations. */
  readonly rowBytes: number
  /** Words of its own; `parameters` and `parametersStride` lead to what a row has. */
  readonly words: Readonly<Record<string, Word>>
  /** Brings the rows of a block into the form that tiles read, where that is another. */
  readonly prepare?: (f: FunctionBuilder, w: Words, block: Local<'i32'>) => Readonly<Record<'input' | 'inputStride', Local<'i32'>>>
  /** Whether tiles compute any activation, and write codes where the step does; others compute `TileOptions` only. */
  readonly isWhole?: boolean
  readonly tile: (f: FunctionBuilder, w: Words, rows: number, columns: number, options: TileOptions, pointers: TilePointers) => void
}

/** What tiles do at their end. */
export interface TileOptions {
  readonly residual: boolean
  readonly relu: boolean
}

/** Bytes of activations that are multiplied with all panels before the next rows follow: they stay in a processor's own cache. */
const blockBytes = 2 ** 17

/** Rows of such a block. */
export function rowsOfBlock({ rowBytes, tileRows }: Pick<PanelProduct, 'rowBytes' | 'tileRows'>): number {
  return tileRows * Math.max(1, Math.floor(blockBytes / (rowBytes * tileRows)))
}

/**
 * The kernel of a linear: blocks of rows, in each all panels, then the activation that tiles do not have. Where the linear is gated, every two panels
 * are for the same columns: the sums of both lie aside, next to each other, before they become one.
 */
export function linearKernel(step: StepOf<'linear'>, product: PanelProduct): WasmKernel {
  const { input, output, residual, activation, gated } = step
  const parts = partsOf(step)
  const { columns, panels } = product
  const outputs = output.columns
  const late = !gated && !product.isWhole && activation !== undefined && activation !== 'relu'
  const options = { residual: residual !== undefined && !late, relu: !gated && activation === 'relu' }
  const aside = late && residual !== undefined
  const blockRows = rowsOfBlock(product)
  const asideStride = gated ? 8 * columns : 16 * Math.ceil(outputs / 4)
  const whole = Math.floor(outputs / columns)
  const count = Math.ceil(outputs / columns)
  const panelBytes = panels.byteLength / (parts * count)
  /** For panels from one to another: the columns that they compute. */
  const wordsOf = (first: number, end: number): Record<string, Word> => ({
    rows: { rows: input.buffer.per },
    ...rowsOf('input', input),
    ...rowsOf('output', { ...output, column: output.column + first * columns }),
    residual: residual ? { address: { ...residual, column: residual.column + first * columns } } : 0,
    residualStride: residual ? { stride: residual } : 0,
    panels: { constant: panels, from: first * parts * panelBytes },
    panelBytes,
    panelCount: Math.min(end, whole) - first,
    tail: Number(end > whole),
    blockRows,
    parameters: 0,
    parametersStride: 0,
    aside: aside || gated ? { scratch: blockRows * asideStride } : 0,
    asideStride,
    ...product.words,
  })
  const split = (part: number, parts: number) => {
    const [first, end] = [part, part + 1].map((one) => Math.floor((one * count) / parts))
    return end > first ? Object.values(wordsOf(first, end)) : null
  }
  const after = late ? ` ${activation} ${outputs}${residual ? ' residual' : ''}` : gated ? ` gate ${activation}` : ''
  const key = `${product.key} tail ${outputs % columns}${options.residual ? ' residual' : ''}${options.relu ? ' relu' : ''}${after}`
  const outputBytes = output.buffer.dtype === 'uint8' ? 1 : 4
  const all = kernel(key, wordsOf(0, count), (f, w) => {
    const block = f.local('i32')
    const [result, resultStride] = aside ? [w.aside, w.asideStride] : [w.output, w.outputStride]
    f.while(w.rows, () => {
      f.set(block, smaller(w.rows, w.blockRows))
      const source = product.prepare?.(f, w, block) ?? { input: w.input, inputStride: w.inputStride }
      emitPanels(f, {
        product,
        gate: gated ? activation : undefined,
        options,
        tail: outputs % columns,
        outputBytes,
        w,
        block,
        ...source,
        output: result,
        outputStride: resultStride,
      })
      if (late) {
        const rows = { ...w, from: result, fromStride: resultStride, term: w.residual, termStride: w.residualStride }
        emitActivation(f, { activation, columns: outputs, join: residual && f32x4.add }, block, rows)
      }
      for (const name of ['input', 'output', 'residual', 'parameters']) f.add(w[name], i32.mul(block, w[`${name}Stride`]))
      f.set(w.rows, i32.sub(w.rows, block))
    })
  })
  // What follows panels needs whole rows, and memory aside is no view of which columns could be written.
  return late || 'output' in product.words ? all : { ...all, split }
}

interface PanelLoop {
  readonly product: PanelProduct
  readonly options: TileOptions
  /** Of the first of two panels for the same columns. */
  readonly gate: ActivationFunction | undefined
  readonly tail: number
  /** Of an element. */
  readonly outputBytes: 1 | 4
  readonly w: Words
  readonly block: Local<'i32'>
  readonly input: Local<'i32'>
  readonly inputStride: Local<'i32'>
  readonly output: Local<'i32'>
  readonly outputStride: Local<'i32'>
}

/** All panels over a block of rows: those that are full, then the narrower last one. */
function emitPanels(f: FunctionBuilder, loop: PanelLoop): void {
  const { product, options, gate, tail, outputBytes, w, block, input, inputStride, output, outputStride } = loop
  const { columns, tileRows } = product
  const [panel, result, residual, count] = copies(f, w.panels, output, w.residual, w.panelCount)
  const rest = f.local('i32')
  const [rowInput, rowOutput, rowResidual, row] = f.localsOf('i32', 4)
  const { residualStride, parametersStride: rowStride } = w
  const down = (width: number, to = result, toStride = outputStride) => {
    const pointers = {
      input: rowInput,
      inputStride,
      panel,
      output: rowOutput,
      outputStride: toStride,
      residual: rowResidual,
      residualStride,
      row,
      rowStride,
    }
    const starts = [walk(rowInput, input), walk(rowOutput, to), walk(rowResidual, residual), walk(row, w.parameters), walk(rest, block)]
    for (const [local, first] of starts) f.set(local, first)
    const tiles = (rows: number, again: Value<'i32'>) =>
      f.while(again, () => {
        product.tile(f, w, rows, width, options, pointers)
        f.add(rowInput, i32.mul(inputStride, rows))
        f.add(rowOutput, i32.mul(toStride, rows))
        f.add(rowResidual, i32.mul(residualStride, rows))
        f.add(row, i32.mul(rowStride, rows))
        f.add(rest, -rows)
      })
    tiles(tileRows, i32.ge_s(rest, tileRows))
    tiles(1, rest)
  }
  const across = (width: number) => {
    if (!gate) {
      down(width)
      return
    }
    const [term] = copies(f, i32.add(w.aside, 4 * columns))
    down(width, w.aside, w.asideStride)
    f.add(panel, w.panelBytes)
    down(width, term, w.asideStride)
    const rows = { from: w.aside, fromStride: w.asideStride, output: result, outputStride, term, termStride: w.asideStride }
    emitActivation(f, { activation: gate, columns: width, join: f32x4.mul }, block, rows)
  }
  f.while(count, () => {
    across(columns)
    f.add(panel, w.panelBytes)
    f.add(result, outputBytes * columns)
    if (options.residual) f.add(residual, 4 * columns)
    f.add(count, -1)
  })
  if (tail) f.if(w.tail, () => across(tail))
}

/** Columns that get an activation, and how another term joins what it gives. */
interface Activated {
  readonly activation: ActivationFunction
  readonly columns: number
  readonly join: typeof f32x4.add | undefined
}

/** The activation of the rows that were just computed, and what follows it. */
function emitActivation(f: FunctionBuilder, { activation, columns, join }: Activated, block: Local<'i32'>, rows: Words): void {
  const [row, target, other] = copies(f, rows.from, rows.output, rows.term)
  const x = f.local('v128')
  eachRow(f, block, [walk(row, rows.fromStride), walk(target, rows.outputStride), walk(other, rows.termStride)], () => {
    const [from, to, term] = copies(f, row, target, other)
    eachChunk(f, columns, 4, [walk(from, 4), walk(to, 4), walk(term, 4)], (count) => {
      f.set(x, v128.load(from))
      const activated = activationFunctions[activation](f, x)
      f.set(x, join ? join(activated, v128.load(term)) : activated)
      f.do(...storeFloats(to, x, count))
    })
  })
}
