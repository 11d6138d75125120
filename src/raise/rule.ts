import type { Dim } from '../ir/dimension.js'
import type { Value } from '../ir/node.js'
import type { Rule } from '../ir/rewrite.js'

/** A block-quantized weight in canonical form. */
export interface Unpacked {
  /** [rows, columns] as a table is read; else [in, out]. */
  readonly table: boolean
  readonly codes: Value
  readonly scale: Value
  readonly zeroPoint: Value
}

/** What raising rules share: values made once for many nodes. */
export interface RaiseContext {
  /** Elements of small integer values that are known without running, symbols among them. */
  readonly contents: ReadonlyMap<Value, readonly Dim[]>
  /** Bool masks by the padding they were made of. */
  readonly masks: Map<Value, Value>
  /** Dequantized activations by their codes. */
  readonly dequantized: Map<Value, Value>
  /** By the codes in the kernel's layout. */
  readonly unpacked: Map<Value, Unpacked>
}

export type RaiseRule = Rule<RaiseContext>
