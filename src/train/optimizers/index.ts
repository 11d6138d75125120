import * as z from 'zod'
import { adafactor } from './adafactor.js'
import { adamW } from './adamw.js'
import { apollo, apolloMini } from './apollo.js'
import { lion } from './lion.js'
import type { Optimizer } from './optimizer.js'
import { sgd } from './sgd.js'

const share = z.number().min(0).lt(1).optional()
const positive = z.number().positive().optional()
const count = z.int().positive().optional()
const betas = { beta1: share, beta2: share }
const sketch = {
  ...betas,
  epsilon: positive,
  scale: positive,
  refresh: count,
  growth: z.number().gt(1).optional(),
  seed: z.int().optional(),
}

/** Options of optimizers by name, for recipes. What is left out is as in the paper. */
export const optimizerOptions = z.discriminatedUnion('name', [
  z.strictObject({ name: z.literal('adamw'), ...betas, epsilon: positive }),
  z.strictObject({ name: z.literal('sgd'), momentum: share, nesterov: z.boolean().optional() }),
  z.strictObject({ name: z.literal('lion'), ...betas }),
  z.strictObject({
    name: z.literal('adafactor'),
    relativeStep: z.boolean().optional(),
    clipThreshold: positive,
    decayRate: share,
    epsilon: positive,
    smallest: positive,
  }),
  z.strictObject({ name: z.literal('apollo'), ...sketch, rank: count, granularity: z.enum(['channel', 'tensor']).optional() }),
  z.strictObject({ name: z.literal('apollo-mini'), ...sketch }),
])

export type OptimizerOptions = z.infer<typeof optimizerOptions>

export const optimizerNames = optimizerOptions.options.map((option) => option.shape.name.value)

/**
 * An optimizer by name.
 *
 * @example
 * optimizerFrom({ name: 'lion', beta2: 0.98 }).name // 'lion'
 */
export function optimizerFrom(options: OptimizerOptions): Optimizer {
  switch (options.name) {
    case 'adamw':
      return adamW(options)
    case 'sgd':
      return sgd(options)
    case 'lion':
      return lion(options)
    case 'adafactor':
      return adafactor(options)
    case 'apollo':
      return apollo(options)
    case 'apollo-mini':
      return apolloMini(options)
  }
}
