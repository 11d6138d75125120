import { kernelChoice } from '#kernels'
import type { Backend } from '../../../src/engine/compiled/backend.js'
import { reference } from '../../../src/engine/compiled/reference/backend.js'
import { wasm } from '../../../src/engine/compiled/wasm/backend.js'
import { x64 } from '../../../src/engine/compiled/x64/backend.node.js'
import { useBuiltWorker } from './wasm/worker.js'

useBuiltWorker()

/** The backends that this machine can run. */
export const backends: readonly Backend[] = [reference, wasm, ...(kernelChoice().backend === 'x64' ? [x64] : [])]
