import { TinsmithError, usage } from '../../base/errors.js'
import type { Backend } from './backend.js'
import { processorFeatures } from './x64/features.node.js'

/** What kernels can be made of: the values of `TINSMITH_KERNELS`. */
const kinds = ['x64', 'wasm'] as const

/** Which backend runs here, and why not machine code. */
export interface KernelChoice {
  readonly backend: 'x64' | 'wasm'
  readonly without: string | null
}

/**
 * The backend for this process: machine code where the processor has AVX2 and the system lets new code run, else WebAssembly;
 * `TINSMITH_KERNELS=x64|wasm` chooses.
 *
 * @throws TinsmithError `usage` for another name, `unsupported` where machine code was asked for and cannot run
 */
export function kernelChoice(): KernelChoice {
  const wanted = process.env['TINSMITH_KERNELS']
  if (wanted && !kinds.some((kind) => kind === wanted)) throw usage(`TINSMITH_KERNELS must be ${kinds.join(' or ')}, not ${wanted}`)
  if (wanted === 'wasm') return { backend: 'wasm', without: 'TINSMITH_KERNELS says so' }
  const without = obstacle()
  if (wanted === 'x64' && without) throw usage(`TINSMITH_KERNELS asks for machine code: ${without}`)
  return without ? { backend: 'wasm', without } : { backend: 'x64', without: null }
}

/** The backend that {@link kernelChoice} names. */
export async function compiledBackend(): Promise<Backend> {
  return kernelChoice().backend === 'x64' ? (await import('./x64/backend.node.js')).x64 : (await import('./wasm/backend.js')).wasm
}

/** Why machine code cannot run, or null. */
function obstacle(): string | null {
  try {
    return processorFeatures().avx2 ? null : 'the processor has no AVX2'
  } catch (error) {
    if (error instanceof TinsmithError) return error.sentence
    throw error
  }
}
