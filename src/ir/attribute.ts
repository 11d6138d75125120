import type { Graph } from './graph.js'
import type { Tensor } from './tensor.js'

/** An attribute of a node, tagged as in ONNX, since `1` alone does not say whether it is an int or a float. */
export type Attribute =
  | { readonly kind: 'int'; readonly value: number | bigint }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'tensor'; readonly value: Tensor }
  | { readonly kind: 'graph'; readonly value: Graph }
  | { readonly kind: 'ints'; readonly value: readonly (number | bigint)[] }
  | { readonly kind: 'floats'; readonly value: readonly number[] }
  | { readonly kind: 'strings'; readonly value: readonly string[] }
  | { readonly kind: 'tensors'; readonly value: readonly Tensor[] }
  | { readonly kind: 'graphs'; readonly value: readonly Graph[] }
  /** Inside a function body: the value of the caller's attribute of that name. */
  | { readonly kind: 'reference'; readonly value: string; readonly type: number }
  /** Protobuf bytes of kinds that nothing here looks into (sparse tensors, type protos), kept for the round trip. */
  | { readonly kind: 'opaque'; readonly value: Uint8Array; readonly type: number }

export type Attributes = Readonly<Record<string, Attribute>>

export const int = (value: number | bigint): Attribute => ({ kind: 'int', value })
export const float = (value: number): Attribute => ({ kind: 'float', value: Math.fround(value) })
export const string = (value: string): Attribute => ({ kind: 'string', value })
export const ints = (value: readonly number[]): Attribute => ({ kind: 'ints', value })
export const floats = (value: readonly number[]): Attribute => ({ kind: 'floats', value: value.map(Math.fround) })
export const strings = (value: readonly string[]): Attribute => ({ kind: 'strings', value })
export const tensor = (value: Tensor): Attribute => ({ kind: 'tensor', value })
export const graph = (value: Graph): Attribute => ({ kind: 'graph', value })

export const noGraphs: readonly Graph[] = []

/** The graphs that an attribute holds. */
export function graphsOf(attribute: Attribute): readonly Graph[] {
  return attribute.kind === 'graph' ? [attribute.value] : attribute.kind === 'graphs' ? attribute.value : noGraphs
}
