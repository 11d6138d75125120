import type { Node } from '../ir/node.js'
import type { Operator } from './record.js'

/** Families of operators; each file lists its records. */
const families: readonly (readonly Operator[])[] = []

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
