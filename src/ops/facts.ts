/** What shape rules share: facts of usual outputs, broadcasting of symbolic shapes, contents of shape computations. */
import { badInput } from '../base/errors.js'
import { broadcastDims, type Dim, symbol } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import type { DType } from '../numbers/dtype.js'
import type { ValueFacts } from './record.js'

/** Input facts of a shape rule. */
export type InputFacts = readonly (ValueFacts | null)[]

/** Nothing known. */
export const unknown: ValueFacts = { dtype: null, shape: null }

/** Facts of an input, {@link unknown} when it is absent. */
export function factsAt(inputs: InputFacts, index: number): ValueFacts {
  return inputs[index] ?? unknown
}

/** Output of the first input's shape, and of its dtype unless another is given. For activations, math functions ... */
export function sameFacts(inputs: InputFacts, dtype: DType | null = factsAt(inputs, 0).dtype): ValueFacts[] {
  return [{ dtype, shape: factsAt(inputs, 0).shape }]
}

/**
 * Output of the inputs' broadcast shape, and of the first known dtype unless another is given.
 *
 * @throws TinsmithError `bad-input` where the shapes clash
 */
export function broadcastFacts(inputs: InputFacts, dtype: DType | null = firstDtype(inputs)): ValueFacts[] {
  return [{ dtype, shape: broadcastShapes(inputs.map((input) => input?.shape ?? null)) }]
}

/** The broadcast of symbolic shapes; null when one is unknown. Throws `bad-input` where they clash. */
export function broadcastShapes(shapes: readonly (readonly Dim[] | null)[]): Dim[] | null {
  const known = shapes.filter((shape) => shape !== null)
  if (known.length !== shapes.length) return null
  const result = broadcastDims(...known)
  if (!result) throw badInput(`shapes ${known.map((shape) => `[${shape.join(', ')}]`).join(' and ')} do not broadcast`)
  return result
}

function firstDtype(inputs: InputFacts): DType | null {
  return inputs.find((input) => input?.dtype)?.dtype ?? null
}

/** The dtype that all inputs have. Throws `bad-input` where two differ. */
export function commonDtype(inputs: InputFacts): DType | null {
  const known = [...new Set(inputs.flatMap((input) => input?.dtype ?? []))]
  if (known.length > 1) throw badInput(`the inputs are ${known.join(' and ')} but must be of one dtype`)
  return known[0] ?? null
}

/** A function of numbers for elements that may be symbols: known only where all of them are numbers. */
export function numericOnly(f: (...values: number[]) => number): (...values: readonly Dim[]) => Dim | null {
  return (...values) => (values.every((value) => typeof value === 'number') ? f(...(values as number[])) : null)
}

/** Elements of an input that are all numbers; null when they are unknown or symbolic. */
export function numericContents(inputs: InputFacts, index: number): number[] | null {
  const contents = inputs[index]?.contents
  return contents?.every((dim) => typeof dim === 'number') ? (contents as number[]) : null
}

/**
 * Elements computed one by one from those of all inputs, which are scalars or vectors; null where one input's are unknown
 * or `f` gives null.
 *
 * @example
 * computedContents(inputs, ([a, b]) => addDims(a, b))
 */
export function computedContents(inputs: InputFacts, f: (elements: readonly Dim[]) => Dim | null): Dim[] | null {
  const aligned = alignedContents(inputs)
  if (!aligned?.length) return null
  const result = aligned[0].map((_, i) => {
    const elements = aligned.map((contents) => contents[i])
    return mixesFractions(elements) ? null : f(elements)
  })
  return result.includes(null) ? null : (result as Dim[])
}

/** Dimensions have whole coefficients: a fraction (of a shape computation in floats) does not meet a symbol. */
function mixesFractions(elements: readonly Dim[]): boolean {
  return elements.some((x) => typeof x === 'string') && elements.some((x) => typeof x === 'number' && !Number.isInteger(x))
}

function alignedContents(inputs: InputFacts): (readonly Dim[])[] | null {
  const all = inputs.map((input) => (input?.contents && (input.shape?.length ?? 0) <= 1 ? input.contents : null))
  const length = Math.max(...all.map((contents) => contents?.length ?? 0))
  const aligned: (readonly Dim[])[] = []
  for (const contents of all) {
    if (!contents || (contents.length !== length && contents.length !== 1)) return null
    aligned.push(contents.length === length ? contents : new Array<Dim>(length).fill(contents[0]))
  }
  return aligned
}

/** The elements of an input that is a vector or scalar; null when unknown. */
export function vectorContents(inputs: InputFacts, index: number): readonly Dim[] | null {
  const facts = inputs[index]
  return facts?.contents && (facts.shape?.length ?? 0) <= 1 ? facts.contents : null
}

/** A symbol for a dimension that only running the node can tell. */
export function freshDim(node: Node, axis: number, output = 0): Dim {
  return symbol(`${node.outputs[output].name.replace(/\W/g, '_')}_${axis}`)
}

/** Whether an input is given at all, known or not. */
export function isGiven(inputs: InputFacts, index: number): boolean {
  return (inputs[index] ?? null) !== null
}
