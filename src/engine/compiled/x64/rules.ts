import type { KernelRules } from '../program.js'
import { activationKernels } from './activation.js'
import { attentionKernels } from './attention.js'
import { combineKernels } from './combine.js'
import type { X64Context } from './context.js'
import { embedKernels } from './embed.js'
import { largestKernels } from './largest.js'
import { lengthKernels } from './length.js'
import { linearKernels } from './linear.js'
import { normKernels } from './norm.js'
import { patchesKernels } from './patches.js'
import { countKernels, keepKernels, poolKernels } from './pool.js'
import { quantizeKernels } from './quantize.js'
import { rotaryKernels, rotationWords } from './rotary.js'

/** The kernels of every kind of step. */
export const x64Rules: KernelRules<Uint8Array, X64Context> = {
  embed: embedKernels,
  patches: patchesKernels,
  linear: linearKernels,
  norm: normKernels,
  quantize: quantizeKernels,
  activation: activationKernels,
  combine: combineKernels,
  length: lengthKernels,
  largest: largestKernels,
  rotary: rotaryKernels,
  attention: async (step, context) => attentionKernels(step, context, step.rotation && (await rotationWords(step.rotation, context))),
  pool: poolKernels,
  keep: keepKernels,
  count: countKernels,
}
