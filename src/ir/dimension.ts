/**
 * Symbolic dimensions. A dimension is a number, or a text: a symbol (`batch_size`) or a sum of products of symbols
 * (`past_sequence_length + sequence_length`, `2*n`) in one normal form, so that equal dimensions are equal texts.
 * What is not a polynomial (a division with rest) becomes a symbol of its own: `(n)//(2)`.
 */
export type Dim = number | string

/** Coefficient by monomial; a monomial is its sorted factors joined by `*`, the constant's is empty. */
type Polynomial = Map<string, number>

function parse(dim: Dim): Polynomial {
  if (typeof dim === 'number') return new Map(dim ? [['', dim]] : [])
  const terms: Polynomial = new Map()
  for (const term of splitOutside(dim, ' + ')) {
    const factors = splitOutside(term, '*')
    const coefficient = /^-?\d+$/.test(factors[0]) ? Number(factors.shift()) : 1
    addTerm(terms, factors.sort().join('*'), coefficient)
  }
  return terms
}

/** Splits at a separator that is not inside parentheses. */
function splitOutside(text: string, separator: string): string[] {
  if (!text.includes('(')) return text.split(separator)
  const parts: string[] = []
  let depth = 0
  let start = 0
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '(') depth++
    else if (text[i] === ')') depth--
    else if (!depth && text.startsWith(separator, i)) {
      parts.push(text.slice(start, i))
      start = i + separator.length
      i = start - 1
    }
  }
  parts.push(text.slice(start))
  return parts
}

function factorsOf(monomial: string): string[] {
  return splitOutside(monomial, '*').filter(Boolean)
}

function addTerm(terms: Polynomial, monomial: string, coefficient: number): void {
  const sum = (terms.get(monomial) ?? 0) + coefficient
  if (sum) terms.set(monomial, sum)
  else terms.delete(monomial)
}

function print(terms: Polynomial): Dim {
  if (!terms.size) return 0
  if (terms.size === 1 && terms.has('')) return terms.get('')!
  return [...terms]
    .sort(([a], [b]) => (a === '' ? 1 : b === '' ? -1 : a < b ? -1 : 1))
    .map(([monomial, c]) => (monomial === '' ? String(c) : c === 1 ? monomial : `${c}*${monomial}`))
    .join(' + ')
}

/** A name from a file as a dimension in normal form; what could be mistaken for something else is cleaned. */
export function symbol(name: string): Dim {
  const text =
    name
      .trim()
      .replace(/\s+/g, ' ')
      .replace(/ ?\* ?/g, '*') || 'unnamed'
  const dim = isBalanced(text) ? print(parse(text)) : 0
  const calculable = typeof dim === 'string' && multiplyDims(dim, 1) === dim && subtractDims(addDims(dim, 1), 1) === dim
  return calculable ? dim : `_${text.replace(/\W/g, '_')}`
}

function isBalanced(text: string): boolean {
  let depth = 0
  for (const character of text) {
    if (character === '(') depth++
    else if (character === ')' && --depth < 0) return false
  }
  return !depth
}

export function addDims(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return a + b
  const sum = parse(a)
  for (const [monomial, c] of parse(b)) addTerm(sum, monomial, c)
  return print(sum)
}

export function multiplyDims(a: Dim, b: Dim): Dim {
  // There is one zero.
  if (typeof a === 'number' && typeof b === 'number') return a * b + 0
  const product: Polynomial = new Map()
  for (const [m, c] of parse(a)) for (const [n, d] of parse(b)) addTerm(product, [...factorsOf(m), ...factorsOf(n)].sort().join('*'), c * d)
  return print(product)
}

export function subtractDims(a: Dim, b: Dim): Dim {
  return addDims(a, multiplyDims(b, -1))
}

/** The quotient rounded down; exact where the divisor divides every term. */
export function divideDims(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return Math.floor(a / b) + 0
  if (b === 1) return a
  const divisor = parse(b)
  if (divisor.size === 1) {
    const [[factors, scale]] = divisor
    const quotient: Polynomial = new Map()
    const exact = [...parse(a)].every(([monomial, c]) => {
      const rest = withoutFactors(monomial, factors)
      if (rest === null || c % scale) return false
      addTerm(quotient, rest, c / scale)
      return true
    })
    if (exact) return print(quotient)
  }
  return `(${a})//(${b})`
}

function withoutFactors(monomial: string, factors: string): string | null {
  const left = factorsOf(monomial)
  for (const factor of factorsOf(factors)) {
    const at = left.indexOf(factor)
    if (at < 0) return null
    left.splice(at, 1)
  }
  return left.join('*')
}

/** The product of all dimensions. */
export function sizeOfDims(shape: readonly Dim[]): Dim {
  return shape.reduce<Dim>(multiplyDims, 1)
}

/** A dimension with numbers put in for symbols; undefined while a symbol is unknown. */
export function evaluateDim(dim: Dim, symbols: ReadonlyMap<string, number>): number | undefined {
  if (typeof dim === 'number') return dim
  let sum = 0
  for (const [monomial, coefficient] of parse(dim)) {
    let product = coefficient
    for (const factor of factorsOf(monomial)) {
      const known = symbols.get(factor) ?? evaluateQuotient(factor, symbols)
      if (known === undefined) return undefined
      product *= known
    }
    sum += product
  }
  return sum
}

/** The value of a factor `(a)//(b)`. */
function evaluateQuotient(factor: string, symbols: ReadonlyMap<string, number>): number | undefined {
  const [above, below] = splitOutside(factor, '//').map((part) => evaluateDim(part.slice(1, -1), symbols))
  return above === undefined || !below ? undefined : Math.floor(above / below)
}

/** The shape that NumPy's broadcasting gives; a symbol against another symbol keeps the first. Undefined where the shapes clash. */
export function broadcastDims(...shapes: readonly (readonly Dim[])[]): Dim[] | undefined {
  const rank = Math.max(...shapes.map((shape) => shape.length))
  const result: Dim[] = new Array(rank).fill(1)
  for (const shape of shapes)
    for (let i = 0; i < shape.length; i++) {
      const at = rank - shape.length + i
      const [have, dim] = [result[at], shape[i]]
      if (dim === 1 || dim === have) continue
      if (have === 1 || (typeof have === 'string' && typeof dim === 'number')) result[at] = dim
      else if (typeof have === 'number' && typeof dim === 'number') return undefined
    }
  return result
}
