/** What LoRA and DoRA share: a product of two narrow matrices beside a weight. */
import type { Random } from '../../base/random.js'
import type { Value } from '../../ir/node.js'
import type { Net } from '../../nn/net.js'
import type { Role } from './adapter.js'
import type { Place } from './places.js'

export interface LowRankOptions {
  /** Width between the two matrices. */
  readonly rank?: number
  /** The change is multiplied by alpha / rank. Default: twice the rank. */
  readonly alpha?: number
  readonly roles?: readonly Role[]
}

/** The endings of the two matrices' names, as the PEFT library has them. */
export const [endingA, endingB] = ['.lora_A.weight', '.lora_B.weight']

export interface Branch {
  /** A [in, rank], B [rank, out]. */
  readonly a: Value
  readonly b: Value
  readonly factor: Value
}

/** A uniform within +-1 / sqrt(in) (He et al. 2015, as in the LoRA authors' code), B zero. */
export function newBranch(
  net: Net,
  { name, inputs, outputs }: Place,
  { rank = 8, alpha = 2 * rank }: LowRankOptions,
  random: Random,
): Branch {
  const draw = random.stream(name)
  const bound = 1 / Math.sqrt(inputs)
  const uniform = Float32Array.from({ length: inputs * rank }, () => (2 * draw.uniform() - 1) * bound)
  return {
    a: net.floats(name + endingA, [inputs, rank], uniform),
    b: net.floats(name + endingB, [rank, outputs], new Float32Array(rank * outputs)),
    factor: net.float(alpha / rank),
  }
}

/** weight + factor A B for some columns of a weight [in, columns], in float64. */
export async function withProduct(
  weight: ArrayLike<number>,
  { a, b, factor }: Branch,
  width: number,
  first: number,
): Promise<Float64Array> {
  const [left, right, scale] = (await Promise.all([a, b, factor].map((value) => value.tensor!.read()))) as Float32Array[]
  const [inputs, rank] = a.shape as readonly number[]
  const outputs = Number(b.shape![1])
  const sum = Float64Array.from(weight)
  for (let i = 0; i < inputs; i++)
    for (let k = 0; k < rank; k++) {
      const x = left[i * rank + k] * scale[0]
      for (let j = 0; j < outputs; j++) sum[i * width + first + j] += x * right[k * outputs + j]
    }
  return sum
}
