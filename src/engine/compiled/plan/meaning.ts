import type { Tensor } from '../../../ir/tensor.js'
import type { LookupTable, Quantization, TokenNumbers, View, Weight } from './steps.js'

/** Rows of a table that are added up for each token. */
export interface Lookup {
  readonly table: LookupTable
  readonly numbers: TokenNumbers
}

/** A constant matrix or table that is made of codes: what DequantizeLinear of a constant means. */
export type Dequantized =
  /** int8 codes, with a scale for each entry of the axis, or one for all. */
  | { readonly kind: 'axis'; readonly codes: Tensor; readonly scale: Tensor; readonly axis: number }
  /** Unsigned codes [inputs / block, block, outputs] with scale and minimum [inputs / block, outputs]. */
  | Extract<Weight, { kind: 'blocks' }>

/** What a value of the graph is to a plan. */
export type Meaning =
  /** Float32 rows; `inner` are the dimensions after those of the rows. */
  | { readonly kind: 'rows'; readonly view: View; readonly inner: readonly number[] }
  /** Rows in codes, dequantized or not. */
  | { readonly kind: 'codes'; readonly view: View; readonly quantization: Quantization; readonly dequantized: boolean }
  /** Scale or zero point of codes whose rows have their own. */
  | { readonly kind: 'row-parameters'; readonly view: View }
  /** Lookups that no step has made yet, and perhaps rows that they are added to. */
  | { readonly kind: 'lookups'; readonly lookups: readonly Lookup[]; readonly columns: number; readonly plus?: View }
  /** A constant made of codes. */
  | { readonly kind: 'dequantized'; readonly weight: Dequantized }
  /** A constant that is computed from others. */
  | { readonly kind: 'constant'; readonly tensor: Tensor }
  /** 1 for every token, 0 for padding: the attention mask as numbers. */
  | { readonly kind: 'ones' }
  /** Pieces of images times a matrix, in any order of axes. */
  | { readonly kind: 'patches'; readonly rows: (leading: number, tokens: number) => View }
  /** A past or present cache of keys or values. */
  | { readonly kind: 'cache'; readonly layer: number; readonly part: 'keys' | 'values' }
  /** What depends on shapes, masks and positions only. */
  | { readonly kind: 'host' }
