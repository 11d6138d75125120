import type { Tensor } from '../../../ir/tensor.js'
import { cacheBytes, operationsOf, type Plan } from './plan.js'
import type { Step, View, Weight } from './steps.js'

/** A step of a plan as people and machines read it. */
export interface DescribedStep {
  readonly kind: string
  readonly name: string
  /** What is folded in: the form of the weights, bias, activation, residual ... */
  readonly details: readonly string[]
  /** What there is a row for, and how many columns the output has. */
  readonly rows: 'token' | 'sequence'
  readonly columns: number
  /** Of constants. */
  readonly constantBytes: number
  /** Of activations read and written, for each row. */
  readonly bytesPerRow: number
  /** Multiplications and additions for each row; those of attention for each token that is seen. */
  readonly operationsPerRow: number
}

export interface DescribedPlan {
  readonly steps: readonly DescribedStep[]
  /** Of the arena. */
  readonly bytesPerToken: number
  readonly bytesPerSequence: number
  /** Of the caches. */
  readonly cacheBytesPerToken: number
  readonly constantBytes: number
}

/** What each step of a plan does, and what it costs. */
export function describePlan({ steps, memory, caches }: Plan): DescribedPlan {
  const described = steps.map(describeStep)
  return {
    steps: described,
    bytesPerToken: memory.bytes.token,
    bytesPerSequence: memory.bytes.sequence,
    cacheBytesPerToken: cacheBytes(caches),
    constantBytes: described.reduce((sum, { constantBytes }) => sum + constantBytes, 0),
  }
}

function describeStep(step: Step): DescribedStep {
  const { kind, name, output } = step
  return {
    kind,
    name,
    details: detailsOf(step),
    rows: output.buffer.per,
    columns: output.columns,
    constantBytes: tensorsOf(step).reduce((sum, tensor) => sum + tensor.byteLength, 0),
    bytesPerRow: [...viewsOf(step)].reduce((sum, { columns, buffer }) => sum + columns * (buffer.dtype === 'uint8' ? 1 : 4), 0),
    operationsPerRow: operationsOf(step),
  }
}

function detailsOf(step: Step): string[] {
  switch (step.kind) {
    case 'linear':
      return [
        weightName(step.weight),
        ...present({
          bias: step.bias,
          [step.activation ?? '']: step.activation,
          gated: step.gated,
          residual: step.residual,
          quantized: step.quantizer,
        }),
      ]
    case 'norm':
      return [step.centered ? 'LayerNorm' : 'RMSNorm', ...present({ quantized: step.codes })]
    case 'quantize':
      return [step.quantization.kind === 'static' ? 'static' : 'per row', ...present({ factors: step.factors })]
    case 'activation':
      return [step.function, ...present({ gate: step.gate })]
    case 'attention':
      return [
        `${step.heads} heads, ${step.keyValueHeads} of keys`,
        ...present({
          causal: step.causal,
          [`window ${step.window}`]: step.window,
          'soft cap': step.softCap,
          rotary: step.rotation,
          [`${step.cacheDtype ?? 'float32'} cache`]: step.cache !== undefined,
          'int8 products': step.products === 'int8',
        }),
      ]
    case 'combine':
      return [step.operator]
    case 'pool':
      return [step.how]
    case 'embed':
      return step.lookups.map(({ table, numbers }) => `${table.rows} rows by ${typeof numbers === 'string' ? numbers : numbers.input}`)
    default:
      return []
  }
}

function weightName(weight: Weight): string {
  if (weight.kind === 'float32') return 'float32'
  return weight.kind === 'int8'
    ? `int8, input ${weight.input.kind === 'static' ? 'static' : 'per row'}`
    : `${weight.bits} bits in blocks of ${weight.block}`
}

/** The names of what is there. */
function present(parts: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(parts).flatMap(([name, part]) => (name && part ? [name] : []))
}

/** All tensors that a step holds, each once. */
function tensorsOf(step: Step): Tensor[] {
  const found = new Set<Tensor>()
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return
    if (isTensor(value)) found.add(value)
    else if (!('buffer' in value)) for (const part of Object.values(value)) visit(part)
  }
  visit(step)
  return [...found]
}

function isTensor(value: object): value is Tensor {
  return 'byteLength' in value && 'read' in value
}

function* viewsOf(step: Step): Generator<View> {
  for (const part of Object.values(step)) if (typeof part === 'object' && part !== null && 'buffer' in part) yield part as View
}
