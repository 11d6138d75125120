import { ArrayTensor, LazyTensor, type Tensor } from '../../../ir/tensor.js'
import { allocate } from '../../../numbers/dtype.js'
import { isView, type Step, type StepOf, type View, viewsRead, viewsWritten, type Weight, whole } from './steps.js'

/** What steps may do at once. */
export interface Fusions {
  /** Products of the same rows as one. */
  readonly sideBySide?: boolean
  /** Codes that products and norms write. */
  readonly quantizer?: boolean
}

/**
 * A rewriting of steps that computes the same with fewer passes over memory.
 *
 * @param outputs what is read after the last step
 */
type Fusion = (steps: readonly Step[], outputs: readonly View[]) => readonly Step[]

/** Rewrites steps so that more is done at once, as far as a backend has kernels for that. */
export function fused(steps: readonly Step[], outputs: readonly View[], { sideBySide, quantizer }: Fusions): readonly Step[] {
  const fusions: Fusion[] = [...(sideBySide ? [productsSideBySide] : []), ...(quantizer ? [quantizedProducts, quantizedNorms] : [])]
  return fusions.reduce((done, fusion) => fusion(done, outputs), steps)
}

/** `linear`, then `quantize` of what it wrote, which nobody else reads: one `linear` that writes the codes. */
const quantizedProducts: Fusion = (steps, outputs) =>
  joined(steps, (step) => {
    if (step.kind !== 'linear' || step.quantizer || isUsed(step.output, outputs)) return undefined
    const others = usersOf(step.output, steps).filter((other) => other !== step)
    const [next] = others
    if (others.length !== 1 || next.kind !== 'quantize' || !isSame(next.input, step.output)) return undefined
    const { factors, quantization, highest, output } = next
    return quantization.kind === 'static' ? [{ ...step, quantizer: { factors, quantization, highest }, output }, next] : undefined
  })

/** `norm`, then `quantize` of what it wrote: one `norm` that writes codes too. */
const quantizedNorms: Fusion = (steps) =>
  joined(steps, (step) => {
    if (step.kind !== 'norm' || step.codes || step.weight.size !== step.output.columns) return undefined
    const others = usersOf(step.output, steps).filter((other) => other !== step)
    const next = others.find((other) => other.kind === 'quantize' && isSame(other.input, step.output))
    if (next?.kind !== 'quantize' || others.some((other) => isUsed(step.output, viewsWritten(other)))) return undefined
    const { factors, quantization, highest, output } = next
    return [{ ...step, codes: { quantizer: { factors, quantization, highest }, output } }, next]
  })

/** Steps of which some do what a later one did. */
function joined(steps: readonly Step[], join: (step: Step) => readonly [by: Step, without: Step] | undefined): readonly Step[] {
  const without = new Set<Step>()
  const result = steps.map((step) => {
    const found = join(step)
    if (found) without.add(found[1])
    return found?.[0] ?? step
  })
  return result.filter((step) => !without.has(step))
}

/** Products of the same rows: one product, of which each has some columns. */
const productsSideBySide: Fusion = (steps, outputs) => {
  const first = steps.find((step) => groupOf(step, steps, outputs).length > 1)
  if (!first) return steps
  const group = groupOf(first, steps, outputs)
  const columns = group.reduce((sum, { output }) => sum + output.columns, 0)
  const [{ output, name, bias: _, ...rest }] = group
  const buffer = { ...output.buffer, name: group.map((one) => one.output.buffer.name).join(', '), columns }
  const product = { ...rest, name, weight: weightBeside(group.map(({ weight }) => weight)), bias: biasBeside(group), output: whole(buffer) }
  const places = new Map(
    group.map((one, i) => [one.output.buffer, group.slice(0, i).reduce((sum, before) => sum + before.output.columns, 0)]),
  )
  const move = (view: View): View => {
    const place = places.get(view.buffer)
    return place === undefined ? view : { ...view, buffer, column: place + view.column }
  }
  const moved = steps.flatMap((step) => (step === first ? [product] : group.some((one) => one === step) ? [] : [withViews(step, move)]))
  return productsSideBySide(moved, outputs)
}

/** The products, this one first, that can be one: of the same rows and in the same form, each with a buffer of its own. */
function groupOf(step: Step, steps: readonly Step[], outputs: readonly View[]): StepOf<'linear'>[] {
  if (step.kind !== 'linear' || !isJoinable(step, steps, outputs)) return []
  const start = steps.indexOf(step)
  const rewritten = steps.findIndex((other, i) => i > start && isUsed(step.input, viewsWritten(other)))
  const behind = steps.slice(start + 1, rewritten < 0 ? undefined : rewritten)
  const isLike = (other: Step): other is StepOf<'linear'> =>
    other.kind === 'linear' &&
    isSame(other.input, step.input) &&
    other.activation === step.activation &&
    isSameForm(other.weight, step.weight) &&
    isJoinable(other, steps, outputs)
  return [step, ...behind.filter(isLike)]
}

function isJoinable(step: StepOf<'linear'>, steps: readonly Step[], outputs: readonly View[]): boolean {
  const { residual, quantizer, output } = step
  const writer = steps.find((other) => isUsed(output, viewsWritten(other)))
  return !residual && !quantizer && writer === step && isSame(output, whole(output.buffer)) && !isUsed(output, [step.input, ...outputs])
}

function isSameForm(a: Weight, b: Weight): boolean {
  if (a.kind === 'blocks' && b.kind === 'blocks') return a.bits === b.bits && a.block === b.block
  if (a.kind !== 'int8' || b.kind !== 'int8') return a.kind === b.kind
  if (a.input.kind === 'static')
    return b.input.kind === 'static' && a.input.scale === b.input.scale && a.input.zeroPoint === b.input.zeroPoint
  return b.input.kind === 'rows' && isSame(a.input.parameters, b.input.parameters)
}

function weightBeside(weights: readonly Weight[]): Weight {
  const [first] = weights
  if (first.kind === 'float32') return { ...first, values: beside((weights as readonly (typeof first)[]).map(({ values }) => values)) }
  const [codes, scale] = (['codes', 'scale'] as const).map((part) => beside((weights as readonly (typeof first)[]).map((one) => one[part])))
  if (first.kind === 'int8') return { ...first, codes, scale }
  return { ...first, codes, scale, minimum: beside((weights as readonly (typeof first)[]).map(({ minimum }) => minimum)) }
}

function biasBeside(group: readonly StepOf<'linear'>[]): Tensor | undefined {
  if (group.every(({ bias }) => !bias)) return undefined
  return beside(group.map(({ bias, output: { columns } }) => bias ?? new ArrayTensor('float32', [columns], new Float32Array(columns))))
}

/** Columns of tensors [..., columns] side by side. */
function beside(tensors: readonly Tensor[]): Tensor {
  const [{ dtype, shape, size }] = tensors
  const rows = size / shape[shape.length - 1]
  const widths = tensors.map(({ size }) => size / rows)
  const columns = widths.reduce((a, b) => a + b, 0)
  return new LazyTensor(dtype, [...shape.slice(0, -1), columns], async () => {
    const result = allocate(dtype, rows * columns) as Float32Array | Uint8Array
    let start = 0
    for (const [i, tensor] of tensors.entries()) {
      const values = (await tensor.read()) as typeof result
      const width = widths[i]
      for (let row = 0; row < rows; row++) result.set(values.subarray(row * width, (row + 1) * width), row * columns + start)
      start += width
    }
    return result
  })
}

/** The step with other views, wherever it has some. */
function withViews(step: Step, move: (view: View) => View): Step {
  const moved = (value: unknown): unknown => {
    if (isView(value)) return move(value)
    if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, moved(part)]))
  }
  return moved(step) as Step
}

/** Steps that read or write a view's buffer. */
function usersOf(view: View, steps: readonly Step[]): Step[] {
  return steps.filter((step) => isUsed(view, viewsRead(step)) || isUsed(view, viewsWritten(step)))
}

function isUsed({ buffer }: View, views: readonly View[]): boolean {
  return views.some((view) => view.buffer === buffer)
}

function isSame(a: View, b: View): boolean {
  return a.buffer === b.buffer && a.column === b.column && a.columns === b.columns
}
