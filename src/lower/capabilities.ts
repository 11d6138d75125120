/** A runtime that files are written for, or that runs graphs here. One record says all that lowering has to know. */
export interface Capabilities {
  readonly name: TargetName
  readonly summary: string
  /** Highest opset that it accepts. */
  readonly opset: number
  readonly irVersion: number
  /** Fused operators of com.microsoft that it has. */
  readonly fused: ReadonlySet<FusedOperator>
  /** 4-bit products pay off here; elsewhere such weights are unpacked when the file is loaded. */
  readonly fourBitProducts: boolean
}

export type TargetName = 'ort-node' | 'ort-wasm'

/** Operators of com.microsoft that lowering emits. */
export type FusedOperator =
  | 'DynamicQuantizeMatMul'
  | 'FusedMatMul'
  | 'GroupQueryAttention'
  | 'MatMulIntegerToFloat'
  | 'MatMulNBits'
  | 'MultiHeadAttention'
  | 'FastGelu'
  | 'QAttention'
  | 'QuickGelu'
  | 'RotaryEmbedding'

const everywhere: readonly FusedOperator[] = [
  'DynamicQuantizeMatMul',
  'FusedMatMul',
  'GroupQueryAttention',
  'MatMulIntegerToFloat',
  'MatMulNBits',
  'MultiHeadAttention',
  'FastGelu',
  'QAttention',
  'QuickGelu',
  'RotaryEmbedding',
]

export const capabilities: Readonly<Record<TargetName, Capabilities>> = {
  'ort-node': {
    name: 'ort-node',
    summary: 'ONNX Runtime 1.30 on x64 and arm64 (onnxruntime-node, transformers.js in Node)',
    opset: 26,
    irVersion: 13,
    fused: new Set(everywhere),
    fourBitProducts: true,
  },
  'ort-wasm': {
    name: 'ort-wasm',
    summary: 'ONNX Runtime 1.30 as WebAssembly (onnxruntime-web, transformers.js in browsers)',
    opset: 26,
    irVersion: 13,
    fused: new Set(everywhere),
    fourBitProducts: false,
  },
}
