import type { Backend } from '../../../src/engine/compiled/backend.js'
import { reference } from '../../../src/engine/compiled/reference/backend.js'

/** The backends that this machine can run. */
export const backends: readonly Backend[] = [reference]
