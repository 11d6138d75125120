import type { Value } from '../ir/node.js'
import type { Rule } from '../ir/rewrite.js'
import type { Capabilities } from './capabilities.js'

/** What a fused attention takes in place of a mask. */
export interface MaskInputs {
  /** Added to the scores, [batch, 1, queries, keys]. */
  readonly bias: Value
  /** Number of keys, int32 scalar. */
  readonly total: Value
  /** Index of the last key of each row, int32 [batch]. */
  readonly lengths: Value
}

/** Constants of a block-quantized weight in the layout of the kernel. */
export interface Packed {
  readonly codes: Value
  readonly scale: Value
  readonly zeroPoint: Value
}

/** What a lowering rule may ask. */
export interface LowerContext {
  readonly target: Capabilities
  /** Values that somebody wants to see: no fusion may swallow them. */
  readonly observed: ReadonlySet<Value>
  /** Made once for each mask. */
  readonly memo: Map<Value, MaskInputs>
  /** By the codes that they were made of. */
  readonly packed: Map<Value, Packed>
}

export type LowerRule = Rule<LowerContext>
