import type { Plan } from '../plan/plan.js'
import type { Buffer, StepOf } from '../plan/steps.js'
import type { KernelRules } from '../program.js'
import type { Constants } from './constants.js'
import { attention } from './kernels/attention.js'
import { blockLinear } from './kernels/block-linear.js'
import type { KernelCode, WasmKernel } from './kernels/kernel.js'
import { codeLinear, floatLinear } from './kernels/linear.js'
import { quantize } from './kernels/quantize.js'
import { activation, combine, embed, length, norm, rotary } from './kernels/rows.js'
import { count, keep, patches, pool } from './kernels/sequences.js'
import type { WasmFeatures } from './module.js'

/** What rules know beside their step. */
export interface RuleContext {
  readonly features: WasmFeatures
  readonly constants: Constants
  /** The highest code in a buffer, by the step that writes it. */
  readonly highest: ReadonlyMap<Buffer, number>
}

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
  rotary: (step, { constants }) => [rotary(step, constants)],
  attention: (step) => attention(step),
  pool: (step) => [pool(step)],
  keep: (step) => [keep(step)],
  count: (step) => [count(step)],
}

function linear(step: StepOf<'linear'>, { constants, features, highest }: RuleContext): WasmKernel[] {
  const { weight, bias } = step
  if (weight.kind === 'blocks') return blockLinear(step, weight, constants, features)
  if (weight.kind === 'int8') return [codeLinear(step, weight, constants, highest.get(step.input.buffer) ?? 255, features)]
  const tensors = [weight.values, ...(bias ? [bias] : [])]
  return [floatLinear(step, tensors, () => constants.elements(weight.values) as Float32Array, constants)]
}

/** The highest code that quantize steps put into each buffer. */
export function highestCodes({ steps }: Plan): Map<Buffer, number> {
  const highest = new Map<Buffer, number>()
  for (const step of steps) {
    if (step.kind !== 'quantize') continue
    const { buffer } = step.output
    highest.set(buffer, Math.max(step.highest, highest.get(buffer) ?? 0))
  }
  return highest
}
