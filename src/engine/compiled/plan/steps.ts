import type { Tensor } from '../../../ir/tensor.js'

/** What a buffer has a row for. Tokens of all sequences lie one after the other, without padding. */
export type RowKind = 'token' | 'sequence'

/** An array [rows, columns] that steps write and read; rows lie `rowBytes` apart. */
export interface Buffer {
  readonly name: string
  readonly per: RowKind
  readonly columns: number
  readonly dtype: 'float32' | 'uint8'
}

/** Columns of a buffer that stand side by side. */
export interface View {
  readonly buffer: Buffer
  readonly column: number
  readonly columns: number
}

/** A number for each token: an input of the graph by its name, or the token's place in its sequence, past tokens counted. */
export type TokenNumbers = { readonly input: string } | 'index'

/** A table [rows, columns] of which rows are looked up: float32, or codes with scales. */
export interface LookupTable {
  readonly columns: number
  readonly rows: number
  readonly values: Tensor
  /** [rows], or [rows, blocks] for so many blocks of columns; the codes are int8 then. */
  readonly scale?: Tensor
}

/** Columns of a table of codes that share a scale. */
export function scaledColumns({ rows, columns, scale }: LookupTable): number {
  return (rows * columns) / scale!.size
}

/** What caches hold of keys and values: float32, or int8 codes with a scale for each token and head. */
export type CacheDtype = 'float32' | 'int8'

/** What the products of attention multiply: float32, or int8 codes as reference/attention-int8.ts defines them. */
export type AttentionProducts = 'float32' | 'int8'

export type ActivationFunction = 'gelu' | 'gelu-tanh' | 'quick-gelu' | 'silu' | 'relu' | 'tanh' | 'sigmoid'
export type BinaryOperator = 'add' | 'subtract' | 'multiply' | 'divide' | 'maximum'

/** Uint8 codes: `value = scale * (code - zero point)`, for a whole buffer, or for each row (`rows`: [scale, -zero point], float32). */
export type Quantization =
  | { readonly kind: 'static'; readonly scale: number; readonly zeroPoint: number }
  | { readonly kind: 'rows'; readonly parameters: View }

/**
 * How numbers become codes = clamp(round(number * factors / scale) + zero point, 0, highest), halves to even. For `rows`, scale = (max - min) /
 * highest over the row with 0 included (1 where that is below 2^-100), zero point = round(-min / scale). In float32: with multiplications by
 * factors / scale, or by factors and then by 1 / scale.
 */
export interface Quantizer {
  /** [columns] */
  readonly factors?: Tensor
  readonly quantization: Quantization
  readonly highest: 127 | 255
}

/** Quantization whose scale is known beforehand. */
export type StaticQuantizer = Quantizer & { readonly quantization: { readonly kind: 'static' } }

/** A matrix [inputs, outputs] in one of the forms that products are made from. */
export type Weight =
  | { readonly kind: 'float32'; readonly values: Tensor }
  /** int8 codes [inputs, outputs] with `scale` [outputs]; the input is in codes too. */
  | { readonly kind: 'int8'; readonly codes: Tensor; readonly scale: Tensor; readonly input: Quantization }
  /**
   * Codes [outputs, inputs] in uint4 or uint8, those of an output beside each other: `value = scale * code + minimum`, both
   * [outputs, inputs / block].
   */
  | {
      readonly kind: 'blocks'
      readonly bits: 4 | 8
      readonly block: number
      readonly codes: Tensor
      readonly scale: Tensor
      readonly minimum: Tensor
    }

/**
 * Rotary position embedding of each head's first `rotary` columns, by the rows `numbers` of the tables [positions, rotary / 2]:
 * (a, b) -> (a cos - b sin, a sin + b cos), where a, b are columns 2i and 2i + 1 (`interleaved`), or i and i + rotary / 2.
 */
export interface Rotation {
  readonly rotary: number
  readonly interleaved: boolean
  readonly cos: Tensor
  readonly sin: Tensor
  readonly numbers: TokenNumbers
}

interface Kinds {
  /** output = sum of the tables' rows. */
  embed: { readonly lookups: readonly { readonly table: LookupTable; readonly numbers: TokenNumbers }[]; readonly output: View }
  /**
   * Pieces of images as rows: output row `leading + i` of a sequence holds piece i [channels, size, size] of its image in the graph's
   * input [batch, channels, height, width]; the leading rows are zeros.
   */
  patches: {
    readonly input: string
    readonly channels: number
    readonly height: number
    readonly width: number
    readonly size: number
    readonly leading: number
    readonly output: View
  }
  /**
   * output = activation(input @ weight + bias) + residual; with `quantizer`, the codes of that. With `gated`, and then with an activation
   * and without residual and quantizer, weight and bias have twice the output's columns: output = activation(first half) * second half.
   */
  linear: {
    readonly input: View
    readonly weight: Weight
    readonly bias?: Tensor
    readonly activation?: ActivationFunction
    /** Only in plans for backends that have `fusions.sideBySide`. */
    readonly gated?: boolean
    readonly residual?: View
    /** Only in plans for backends that have `fusions.quantizer`. */
    readonly quantizer?: StaticQuantizer
    readonly output: View
  }
  /**
   * LayerNorm (`centered`) or RMSNorm of each group of `weight.length` columns: (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * weight + bias.
   */
  norm: {
    readonly input: View
    readonly centered: boolean
    readonly epsilon: number
    readonly weight: Tensor
    readonly bias?: Tensor
    readonly output: View
    /** Codes of the output, beside it. Only in plans for backends that have `fusions.quantizer`. */
    readonly codes?: { readonly quantizer: Quantizer; readonly output: View }
  }
  /** output = codes of the input. */
  quantize: Quantizer & { readonly input: View; readonly output: View }
  /** output = function(input) * gate. */
  activation: { readonly function: ActivationFunction; readonly input: View; readonly gate?: View; readonly output: View }
  /** output = left (operator) right; right may be a row of constants, or have one column for all. */
  combine: { readonly operator: BinaryOperator; readonly left: View; readonly right: View | Tensor; readonly output: View }
  /** Euclidean length of each row; the output has one column. */
  length: { readonly input: View; readonly output: View }
  /** The column of each row's largest number, the first of equals, as float32; any column where some are NaN. The output has one column. */
  largest: { readonly input: View; readonly output: View }
  /** output = the input's heads of `headSize` columns, rotated, where no attention does it; it may be in place. */
  rotary: Rotation & { readonly input: View; readonly headSize: number; readonly output: View }
  /**
   * Softmax(cap(scale * Q K^T)) V within each sequence, for each head of `headSize` columns; query head h reads key head
   * floor(h * keyValueHeads / heads). `causal`: keys up to the query's own place, the last `window` of them. With `cache`, keys and values are
   * first appended to that one of the caches, and all of it is read: where it holds codes, what they stand for (see cache-bytes.ts). With
   * `rotation`, heads of queries, and of keys before they are appended, are rotated; only with a cache.
   */
  attention: {
    readonly query: View
    readonly key: View
    readonly value: View
    readonly heads: number
    readonly keyValueHeads: number
    readonly scale: number
    readonly causal: boolean
    readonly window?: number
    /** cap(x) = softCap * tanh(x / softCap) */
    readonly softCap?: number
    readonly rotation?: Rotation
    readonly cache?: number
    /** Of that cache; float32 where it is not said. */
    readonly cacheDtype?: CacheDtype
    /** What Q K^T and the sum of values multiply; float32 where it is not said. Products of codes know neither caches nor soft caps. */
    readonly products?: AttentionProducts
    readonly output: View
  }
  /** One row for each sequence from those of its tokens: the first, the last, or their sum. */
  pool: { readonly how: 'first' | 'last' | 'sum'; readonly input: View; readonly output: View }
  /**
   * In runs that keep last tokens only: the rows of the last tokens move to the front of the buffer, in place, and steps behind this one see
   * a row for each sequence instead of one for each token. In other runs nothing happens.
   */
  keep: { readonly input: View; readonly output: View }
  /** The number of tokens of each sequence; one column. */
  count: { readonly output: View }
}

export type StepKind = keyof Kinds
export type StepOf<K extends StepKind> = { readonly [Kind in K]: { readonly kind: Kind; readonly name: string } & Kinds[Kind] }[K]

/** One piece of work of a plan: a loop over rows, or over sequences, that one kernel does. */
export type Step = StepOf<StepKind>

/** How many parts of its weight's columns a linear needs for each of its output's: 2 where it is gated. */
export function partsOf({ gated }: Pick<StepOf<'linear'>, 'gated'>): 1 | 2 {
  return gated ? 2 : 1
}

/** Columns of a linear's weight. */
export function weightColumns(step: Pick<StepOf<'linear'>, 'gated' | 'output'>): number {
  return partsOf(step) * step.output.columns
}

/** The views that a step reads. */
export function viewsRead(step: Step): View[] {
  const fields = Object.entries(step).filter(([name]) => name !== 'output')
  const views = fields.map(([, value]) => value).filter(isView)
  if (step.kind === 'linear' && step.weight.kind === 'int8' && step.weight.input.kind === 'rows') views.push(step.weight.input.parameters)
  return views
}

/** The views that a step writes. */
export function viewsWritten(step: Step): View[] {
  const codes = codesOf(step)
  const quantization = codes?.quantizer.quantization
  return [...new Set([step.output, ...(codes ? [codes.output] : []), ...(quantization?.kind === 'rows' ? [quantization.parameters] : [])])]
}

/** The codes that a step writes. */
export function codesOf(step: Step): { readonly quantizer: Quantizer; readonly output: View } | undefined {
  if (step.kind === 'quantize') return { quantizer: step, output: step.output }
  if (step.kind === 'linear' && step.quantizer) return { quantizer: step.quantizer, output: step.output }
  return step.kind === 'norm' ? step.codes : undefined
}

/** The whole of a buffer. */
export function whole(buffer: Buffer): View {
  return { buffer, column: 0, columns: buffer.columns }
}

/** Bytes from one row of a buffer to the next: vectors of 64 bytes, and a panel of the widest product at least. */
export function rowBytes({ columns, dtype }: Buffer): number {
  return dtype === 'uint8' ? roundUp(columns, 64) : Math.max(roundUp(4 * columns, 64), 256)
}

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit
}

export function isView(value: unknown): value is View {
  return typeof value === 'object' && value !== null && 'buffer' in value && 'column' in value
}
