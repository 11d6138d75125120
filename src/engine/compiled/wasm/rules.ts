import type { Fusions } from '../plan/fuse.js'
import type { Plan } from '../plan/plan.js'
import { type Buffer, codesOf, rowBytes, type StepOf, whole } from '../plan/steps.js'
import type { KernelRules, Word } from '../program.js'
import { attention } from './kernels/attention.js'
import { int8Attention } from './kernels/attention-int8.js'
import { blockLinear } from './kernels/block-linear.js'
import type { BlockWeight } from './kernels/block-weights.js'
import type { KernelCode, RuleContext, WasmKernel } from './kernels/kernel.js'
import { codeLinear, floatLinear } from './kernels/linear.js'
import { quantize } from './kernels/quantize.js'
import { rotary } from './kernels/rotary.js'
import { activation, combine, embed, largest, length, norm } from './kernels/rows.js'
import { count, keep, patches, pool } from './kernels/sequences.js'

/** What kernels do at once. */
export const wasmFusions: Fusions = { sideBySide: true, quantizer: true }

/** WebAssembly kernels for every kind of step. */
export const rules: KernelRules<KernelCode, RuleContext> = {
  embed: (step, { constants }) => [embed(step, constants)],
  patches: (step) => [patches(step)],
  linear: (step, context) => linear(step, context),
  norm: (step, { constants }) => [norm(step, constants)],
  quantize: (step, { constants }) => [quantize(step, constants)],
  activation: (step) => [activation(step)],
  combine: (step, { constants }) => [combine(step, constants)],
  length: (step) => [length(step)],
  largest: (step) => [largest(step)],
  rotary: (step, { constants }) => [rotary(step, constants)],
  attention: (step, context) => (step.products === 'int8' ? [int8Attention(step, context)] : attention(step, context)),
  pool: (step) => [pool(step)],
  keep: (step) => [keep(step)],
  count: (step) => [count(step)],
}

function linear(step: StepOf<'linear'>, context: RuleContext): WasmKernel[] {
  const { constants, features, highest } = context
  const { weight, bias } = step
  if (weight.kind === 'blocks') return blockKernels(step, weight, context)
  if (weight.kind === 'int8') return [codeLinear(step, weight, constants, highest.get(step.input.buffer) ?? 255, features)]
  const tensors = [weight.values, ...(bias ? [bias] : [])]
  return [floatLinear(step, tensors, () => constants.elements(weight.values) as Float32Array, constants)]
}

/** Codes of products with weights in blocks are made of floats that lie aside. */
function blockKernels(step: StepOf<'linear'>, weight: BlockWeight, { constants, features }: RuleContext): WasmKernel[] {
  const { quantizer, ...product } = step
  if (!quantizer) return blockLinear(step, weight, constants, features)
  const { name, output } = step
  const floats = whole({ ...output.buffer, columns: output.columns, dtype: 'float32' })
  const stride = rowBytes(floats.buffer)
  const aside: Word = { scratch: stride, per: output.buffer.per }
  return [
    ...blockLinear({ ...product, output: floats }, weight, constants, features, { output: aside, outputStride: stride }),
    quantize({ kind: 'quantize', name, input: floats, output, ...quantizer }, constants, { input: aside, inputStride: stride }),
  ]
}

/** The highest code that steps put into each buffer. */
export function highestCodes({ steps }: Plan): Map<Buffer, number> {
  const highest = new Map<Buffer, number>()
  for (const step of steps) {
    const codes = codesOf(step)
    if (codes) highest.set(codes.output.buffer, Math.max(codes.quantizer.highest, highest.get(codes.output.buffer) ?? 0))
  }
  return highest
}
