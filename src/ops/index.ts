import type { Node } from '../ir/node.js'
import { activations } from './activation.js'
import { attentions } from './attention.js'
import { constants } from './constant.js'
import { controls } from './control.js'
import { convolutions } from './convolution.js'
import { elementwise } from './elementwise.js'
import { gathers } from './gather.js'
import { layout } from './layout.js'
import { logic } from './logic.js'
import { losses } from './loss.js'
import { matrixProducts } from './matrix.js'
import { microsoftOperators } from './microsoft.js'
import { microsoftAttentions } from './microsoft-attention.js'
import { microsoftIntegers } from './microsoft-integer.js'
import { microsoftQuantizations } from './microsoft-quantization.js'
import { normalizations } from './normalization.js'
import { orders } from './order.js'
import { pools } from './pooling.js'
import { quantizations } from './quantization.js'
import type { Operator } from './record.js'
import { recurrences } from './recurrence.js'
import { reductions } from './reduce.js'
import { resamplings } from './resize.js'
import { shapes } from './shape.js'

/** Families of operators; each file lists its records. */
const families: readonly (readonly Operator[])[] = [
  elementwise,
  logic,
  reductions,
  shapes,
  layout,
  constants,
  gathers,
  orders,
  controls,
  activations,
  matrixProducts,
  normalizations,
  attentions,
  recurrences,
  convolutions,
  pools,
  quantizations,
  resamplings,
  losses,
  microsoftOperators,
  microsoftAttentions,
  microsoftQuantizations,
  microsoftIntegers,
]

const table = new Map(families.flat().map((record) => [key(record.domain, record.name), record]))

function key(domain: string, name: string): string {
  return domain ? `${domain}.${name}` : name
}

/** All operators that have a record, in the order of their families. */
export const operators: readonly Operator[] = [...table.values()]

/** The record of a node's operator, if there is one. */
export function operatorOf(node: Node): Operator | undefined {
  return table.get(node.type)
}
