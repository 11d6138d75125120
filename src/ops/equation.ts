/** Equations of Einsum. */
import { badInput } from '../base/errors.js'
import type { Dim } from '../ir/dimension.js'

/** An Einsum equation with its ellipses written out as letters of their own (digits). */
export interface Equation {
  readonly inputs: readonly string[][]
  readonly output: readonly string[]
}

/**
 * Parses an Einsum equation for operands of the given ranks.
 *
 * @throws TinsmithError `bad-input` where terms and operands do not fit
 */
export function parseEquation(equation: string, ranks: readonly number[]): Equation {
  const [left, right] = equation.replaceAll(' ', '').split('->')
  const terms = left.split(',')
  if (terms.length !== ranks.length) throw badInput(`the equation ${equation} has ${terms.length} terms for ${ranks.length} operands`)
  const broadcastRank = Math.max(0, ...terms.map((term, i) => (term.includes('...') ? ranks[i] - (term.length - 3) : 0)))
  const ellipsis = Array.from({ length: broadcastRank }, (_, i) => String(i))
  const spread = (term: string, rank = broadcastRank): string[] => {
    const at = term.indexOf('...')
    return at < 0 ? [...term] : [...term.slice(0, at), ...ellipsis.slice(broadcastRank - rank), ...term.slice(at + 3)]
  }
  const inputs = terms.map((term, i) => spread(term, ranks[i] - (term.length - 3)))
  inputs.forEach((term, i) => {
    if (term.length !== ranks[i]) throw badInput(`the term ${terms[i]} does not fit an operand of rank ${ranks[i]}`)
  })
  return { inputs, output: right === undefined ? [...ellipsis, ...lettersOnce(inputs)] : spread(right) }
}

function lettersOnce(terms: readonly string[][]): string[] {
  const letters = terms.flat().filter((letter) => !/\d/.test(letter))
  return letters.filter((letter) => letters.indexOf(letter) === letters.lastIndexOf(letter)).sort()
}

/** The size of each letter; 1 gives way to others. */
export function letterSizes(terms: readonly string[][], shapes: readonly (readonly Dim[])[]): Map<string, Dim> {
  const sizes = new Map<string, Dim>()
  terms.forEach((term, i) => {
    term.forEach((letter, axis) => {
      const [known, size] = [sizes.get(letter), shapes[i][axis]]
      if (known === undefined || known === 1 || (typeof known === 'string' && typeof size === 'number' && size !== 1))
        sizes.set(letter, size)
      else if (typeof known === 'number' && typeof size === 'number' && size !== 1 && size !== known)
        throw badInput(`the index ${letter} is ${known} and ${size} at once`)
    })
  })
  return sizes
}
