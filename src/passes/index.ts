import { distil } from './distil/distil.js'
import { minilm } from './distil/minilm.js'
import type { Pass } from './pass.js'
import { dynamicInt8 } from './quantize/dynamic-int8.js'
import { staticInt8 } from './quantize/static-int8.js'
import { weightOnly } from './quantize/weight-only.js'
import { expandAttentionPass } from './rewrite/expand-attention.js'
import { float16 } from './rewrite/float16.js'
import { foldConstants } from './rewrite/fold-constants.js'
import { fuseAttentionPass } from './rewrite/fuse-attention.js'
import { fuseQkv } from './rewrite/fuse-qkv.js'
import { gammaMigration } from './rewrite/gamma-migration.js'
import { removePadding } from './rewrite/remove-padding.js'
import { removeUnused } from './rewrite/remove-unused.js'
import { tanhGelu } from './rewrite/tanh-gelu.js'
import { lora } from './training/lora.js'
import { qat } from './training/qat.js'
import { reconstruct } from './training/reconstruct.js'

export { definePass, type Pass, type PassContext, type PassResult, type Refusal } from './pass.js'

/** All passes, in the order in which a recipe would usually name them. */
export const passes: readonly Pass[] = [
  distil,
  minilm,
  removeUnused,
  foldConstants,
  fuseQkv,
  expandAttentionPass,
  fuseAttentionPass,
  gammaMigration,
  tanhGelu,
  removePadding,
  float16,
  dynamicInt8,
  staticInt8,
  weightOnly,
  lora,
  reconstruct,
  qat,
] as readonly Pass[]
