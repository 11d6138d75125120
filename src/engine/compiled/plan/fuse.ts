import { concatenate } from '../../../base/bytes.js'
import { ArrayTensor, BytesTensor, LazyTensor, type Tensor } from '../../../ir/tensor.js'
import { allocate } from '../../../numbers/dtype.js'
import { type Buffer, isView, type Step, type StepOf, type View, viewsRead, viewsWritten, type Weight, whole } from './steps.js'

/** What steps may do at once. */
export interface Fusions {
  /** Products of the same rows as one, a gate and what it is multiplied with among them; what is done to columns beside each other too. */
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
  const fusions: Fusion[] = [
    rotatedAttention,
    ...(sideBySide ? [gatedProducts, productsSideBySide, rotariesTogether] : []),
    ...(quantizer ? [quantizedProducts, quantizedNorms] : []),
  ]
  return fusions.reduce((done, fusion) => fusion(done, outputs), steps)
}

/** Rotary embeddings of queries and keys, which only an attention with a cache reads: the attention does it. */
const rotatedAttention: Fusion = (steps, outputs) =>
  joined(steps, (step, users) => {
    if (step.kind !== 'attention' || step.cache === undefined || step.rotation) return undefined
    const headSize = step.query.columns / step.heads
    const isFolded = (other: Step, view: View) => {
      if (other.kind !== 'rotary' || other.headSize !== headSize || !isSame(other.output, view)) return false
      const isKept = !steps.slice(steps.indexOf(other) + 1, steps.indexOf(step)).some((next) => isUsed(other.input, viewsWritten(next)))
      return isKept && users(view).length === 2 && !isUsed(view, [other.input, ...outputs])
    }
    const rotaryOf = (view: View) => users(view).find((other): other is StepOf<'rotary'> => isFolded(other, view))
    const [query, key] = [rotaryOf(step.query), rotaryOf(step.key)]
    if (!query || !key || !isSameRotation(query, key)) return undefined
    const { rotary, interleaved, cos, sin, numbers } = query
    return [{ ...step, query: query.input, key: key.input, rotation: { rotary, interleaved, cos, sin, numbers } }, query, key]
  })

/** `linear`, then `quantize` of what it wrote, which nobody else reads: one `linear` that writes the codes. */
const quantizedProducts: Fusion = (steps, outputs) =>
  joined(steps, (step, users) => {
    if (step.kind !== 'linear' || step.quantizer || step.gated || isUsed(step.output, outputs)) return undefined
    const others = users(step.output).filter((other) => other !== step)
    const [next] = others
    if (others.length !== 1 || next.kind !== 'quantize' || !isSame(next.input, step.output)) return undefined
    const { factors, quantization, highest, output } = next
    return quantization.kind === 'static' ? [{ ...step, quantizer: { factors, quantization, highest }, output }, next] : undefined
  })

/** `norm`, then `quantize` of what it wrote: one `norm` that writes codes too. */
const quantizedNorms: Fusion = (steps) =>
  joined(steps, (step, users) => {
    if (step.kind !== 'norm' || step.codes || step.weight.size !== step.output.columns) return undefined
    const others = users(step.output).filter((other) => other !== step)
    const next = others.find((other) => other.kind === 'quantize' && isSame(other.input, step.output))
    if (next?.kind !== 'quantize' || others.some((other) => isUsed(step.output, viewsWritten(other)))) return undefined
    const { factors, quantization, highest, output } = next
    return [{ ...step, codes: { quantizer: { factors, quantization, highest }, output } }, next]
  })

/** Two products of the same rows, and one of them times a function of the other, which nobody else reads: one product. */
const gatedProducts: Fusion = (steps, outputs) =>
  joined(steps, (step, users) => {
    const next = users(step.output).find((other) => other !== step)
    if (step.kind !== 'linear' || step.activation || next?.kind !== 'activation' || !next.gate) return undefined
    const group = groupOf(step, steps, users, outputs)
    const halves = [next.input, next.gate].flatMap((view) => group.filter(({ output }) => isSame(output, view)))
    if (new Set(halves).size !== 2 || halves.some(({ output }) => users(output).length !== 2) || users(next.output)[0] !== next)
      return undefined
    const { function: activation, output } = next
    const weight = weightBeside(halves.map((half) => half.weight))
    return [{ ...step, weight, bias: biasBeside(halves), activation, gated: true, output }, halves.find((half) => half !== step)!, next]
  })

/** Steps that read or write a view's buffer. */
type Users = (view: View) => readonly Step[]

type Join = (step: Step, users: Users) => readonly [by: Step, ...without: Step[]] | undefined

/** Steps of which some do what a later one did. */
function joined(steps: readonly Step[], join: Join): readonly Step[] {
  const without = new Set<Step>()
  const users = usersAmong(steps)
  const result = steps.map((step) => {
    const [by, ...others] = join(step, users) ?? [step]
    for (const other of others) without.add(other)
    return by
  })
  return result.filter((step) => !without.has(step))
}

/** Products of the same rows: one product, of which each has some columns. */
const productsSideBySide: Fusion = (steps, outputs) => {
  const users = usersAmong(steps)
  const products = new Map<Step, Step>()
  const places: Places = new Map()
  const grouped = new Set<Step>()
  for (const step of steps) {
    if (step.kind !== 'linear' || grouped.has(step)) continue
    const group = groupOf(step, steps, users, outputs)
    if (group.length < 2) continue
    const { output } = step
    const columns = group.reduce((sum, one) => sum + one.output.columns, 0)
    const buffer = { ...output.buffer, name: group.map((one) => one.output.buffer.name).join(', '), columns }
    let column = 0
    for (const one of group) {
      grouped.add(one)
      places.set(one.output.buffer, { buffer, column })
      column += one.output.columns
    }
    const { bias: _, ...rest } = step
    products.set(step, { ...rest, weight: weightBeside(group.map(({ weight }) => weight)), bias: biasBeside(group), output: whole(buffer) })
  }
  if (!grouped.size) return steps
  return moved(
    steps.filter((step) => products.has(step) || !grouped.has(step)).map((step) => products.get(step) ?? step),
    places,
  )
}

/** Two rotary embeddings of columns that one step has written side by side, and that nobody else reads: one, in place. */
const rotariesTogether: Fusion = (steps, outputs) => {
  const places: Places = new Map()
  const fewer = joined(steps, (step, users) => {
    if (step.kind !== 'rotary' || isUsed(step.input, outputs)) return undefined
    const [, ...readers] = users(step.input)
    const later = readers.slice(readers.indexOf(step) + 1)
    const next = later.find((other): other is StepOf<'rotary'> => other.kind === 'rotary' && isSameRotation(other, step))
    if (!next) return undefined
    const [left, right] = [step.input, next.input].sort((a, b) => a.column - b.column)
    const input = { ...left, columns: left.columns + right.columns }
    const others = readers.filter((other) => other !== step && other !== next)
    const isAlone = !others.some((other) => viewsOf(other).some((view) => overlaps(view, input)))
    const isOwn = [step, next].every(({ output }) => isSame(output, whole(output.buffer)) && !isUsed(output, [input, ...outputs]))
    if (left.column + left.columns !== right.column || !isAlone || !isOwn) return undefined
    for (const one of [step, next]) places.set(one.output.buffer, one.input)
    return [{ ...step, input, output: input }, next]
  })
  return moved(fewer, places)
}

function isSameRotation(a: StepOf<'rotary'>, b: StepOf<'rotary'>): boolean {
  const inputOf = ({ numbers }: StepOf<'rotary'>) => (numbers === 'index' ? undefined : numbers.input)
  const isSameTable = a.cos === b.cos && a.sin === b.sin && inputOf(a) === inputOf(b)
  return isSameTable && a.headSize === b.headSize && a.rotary === b.rotary && a.interleaved === b.interleaved
}

/** The products, this one first, that can be one: of the same rows and in the same form, each with a buffer of its own. */
function groupOf(step: StepOf<'linear'>, steps: readonly Step[], users: Users, outputs: readonly View[]): StepOf<'linear'>[] {
  if (!isJoinable(step, users, outputs)) return []
  const start = steps.indexOf(step)
  const behind = users(step.input).filter((other) => steps.indexOf(other) > start)
  const rewritten = behind.findIndex((other) => isUsed(step.input, viewsWritten(other)))
  const isLike = (other: Step): other is StepOf<'linear'> =>
    other.kind === 'linear' &&
    isSame(other.input, step.input) &&
    other.activation === step.activation &&
    isSameForm(other.weight, step.weight) &&
    isJoinable(other, users, outputs)
  return [step, ...behind.slice(0, rewritten < 0 ? undefined : rewritten).filter(isLike)]
}

function isJoinable(step: StepOf<'linear'>, users: Users, outputs: readonly View[]): boolean {
  const { residual, quantizer, gated, output } = step
  const writer = users(output).find((other) => isUsed(output, viewsWritten(other)))
  return (
    !residual &&
    !quantizer &&
    !gated &&
    writer === step &&
    isSame(output, whole(output.buffer)) &&
    !isUsed(output, [step.input, ...outputs])
  )
}

function isSameForm(a: Weight, b: Weight): boolean {
  if (a.kind === 'blocks' && b.kind === 'blocks') return a.bits === b.bits && a.block === b.block
  if (a.kind !== 'int8' || b.kind !== 'int8') return a.kind === b.kind
  if (a.input.kind === 'static')
    return b.input.kind === 'static' && a.input.scale === b.input.scale && a.input.zeroPoint === b.input.zeroPoint
  return b.input.kind === 'rows' && isSame(a.input.parameters, b.input.parameters)
}

function weightBeside(all: readonly Weight[]): Weight {
  const [first] = all
  if (first.kind === 'float32') return { ...first, values: beside((all as readonly (typeof first)[]).map(({ values }) => values)) }
  if (first.kind === 'int8') {
    const [codes, scale] = (['codes', 'scale'] as const).map((part) => beside((all as readonly (typeof first)[]).map((one) => one[part])))
    return { ...first, codes, scale }
  }
  const parts = ['codes', 'scale', 'minimum'] as const
  const [codes, scale, minimum] = parts.map((part) => below((all as readonly (typeof first)[]).map((one) => one[part])))
  return { ...first, codes, scale, minimum }
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

/** Rows of tensors [rows, columns] below each other. */
function below(tensors: readonly Tensor[]): Tensor {
  const [{ dtype, shape }] = tensors
  const rows = tensors.reduce((sum, tensor) => sum + tensor.shape[0], 0)
  return new BytesTensor(dtype, [rows, shape[1]], async () => concatenate(await Promise.all(tensors.map((tensor) => tensor.bytes()))))
}

/** Where what a buffer had lies now. */
type Places = Map<Buffer, { readonly buffer: Buffer; readonly column: number }>

function moved(steps: readonly Step[], places: Places): readonly Step[] {
  const move = (view: View): View => {
    const place = places.get(view.buffer)
    return place ? { ...view, buffer: place.buffer, column: place.column + view.column } : view
  }
  return steps.map((step) => withViews(step, move))
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

function viewsOf(step: Step): View[] {
  return [...viewsRead(step), ...viewsWritten(step)]
}

function usersAmong(steps: readonly Step[]): Users {
  const users = new Map<Buffer, Set<Step>>()
  for (const step of steps)
    for (const { buffer } of viewsOf(step)) {
      const known = users.get(buffer)
      if (known) known.add(step)
      else users.set(buffer, new Set([step]))
    }
  return ({ buffer }) => [...(users.get(buffer) ?? [])]
}

function isUsed({ buffer }: View, views: readonly View[]): boolean {
  return views.some((view) => view.buffer === buffer)
}

function overlaps(a: View, b: View): boolean {
  return a.buffer === b.buffer && a.column < b.column + b.columns && b.column < a.column + a.columns
}

function isSame(a: View, b: View): boolean {
  return a.buffer === b.buffer && a.column === b.column && a.columns === b.columns
}
