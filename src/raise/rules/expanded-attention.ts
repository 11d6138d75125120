import { fuseAttention } from '../../nn/attention-fusion.js'
import type { RaiseRule } from '../rule.js'

/** Attention that was spelled out as matrix products and a softmax. */
const expandedAttention: RaiseRule = { name: 'expanded-attention', at: ['Softmax'], rewrite: fuseAttention }

export const expandedAttentionRules: readonly RaiseRule[] = [expandedAttention]
