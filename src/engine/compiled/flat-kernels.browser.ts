import type { FlatKernels } from './flat-kernels.js'

/** Browsers run no machine code of ours. */
export function flatKernels(): FlatKernels | null {
  return null
}
