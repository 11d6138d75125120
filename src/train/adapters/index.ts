import * as z from 'zod'
import type { Adapter, Role } from './adapter.js'
import { bottleneck } from './bottleneck.js'
import { dora } from './dora.js'
import { ia3 } from './ia3.js'
import { lora } from './lora.js'
import { prefixTuning } from './prefix-tuning.js'
import { promptTuning } from './prompt-tuning.js'

export { type Adapter, onlyGroups } from './adapter.js'
export { bottleneck, dora, ia3, lora, prefixTuning, promptTuning }

const roleNames = ['q', 'k', 'v', 'qkv', 'o', 'up', 'gate', 'gate_up', 'down'] as const satisfies readonly Role[]
const roles = z.array(z.enum(roleNames)).min(1).optional()
const count = z.int().positive().optional()
const lowRank = { rank: count, alpha: z.number().positive().optional(), roles }

/** Options of adapters by name, for recipes. What is left out is as in the paper. */
export const adapterOptions = z.discriminatedUnion('name', [
  z.strictObject({ name: z.literal('lora'), ...lowRank }),
  z.strictObject({ name: z.literal('dora'), ...lowRank }),
  z.strictObject({ name: z.literal('ia3'), roles }),
  z.strictObject({
    name: z.literal('bottleneck'),
    width: count,
    activation: z.enum(['gelu', 'relu', 'silu', 'tanh']).optional(),
    roles,
    norms: z.boolean().optional(),
  }),
  z.strictObject({ name: z.literal('prompt-tuning'), length: count }),
  z.strictObject({ name: z.literal('prefix-tuning'), length: count }),
])

export type AdapterOptions = z.infer<typeof adapterOptions>

export const adapterNames = adapterOptions.options.map((option) => option.shape.name.value)

/**
 * An adapter by name.
 *
 * @example
 * adapterFrom({ name: 'lora', rank: 4 }).name // 'lora'
 */
export function adapterFrom(options: AdapterOptions): Adapter {
  switch (options.name) {
    case 'lora':
      return lora(options)
    case 'dora':
      return dora(options)
    case 'ia3':
      return ia3(options)
    case 'bottleneck':
      return bottleneck(options)
    case 'prompt-tuning':
      return promptTuning(options)
    case 'prefix-tuning':
      return prefixTuning(options)
  }
}
