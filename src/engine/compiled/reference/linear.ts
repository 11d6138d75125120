import { type StepOf, weightColumns } from '../plan/steps.js'
import { activationFunctions } from './functions.js'
import { encoder, rowOf } from './quantize.js'
import type { Run } from './run.js'

/** What the step's docstring says; integers are summed exactly, floats in float64. */
export async function linear(step: StepOf<'linear'>, run: Run): Promise<void> {
  const multiply = await productOf(step, run)
  const write = await rowWriter(step, run)
  const bias = step.bias && (await run.floats(step.bias))
  const residual = step.residual && run.arena.floats(step.residual)
  const { columns } = step.output
  const activate = step.activation ? activationFunctions[step.activation] : (x: number) => x
  for (let row = 0; row < run.arena.rows[step.output.buffer.per]; row++) {
    const before = residual && rowOf(residual, row).slice()
    const products = multiply(row)
    const sums = products.map((product, column) => product + (bias?.[column] ?? 0))
    const factors = step.gated ? sums.subarray(columns) : undefined
    write(
      row,
      Float32Array.from(sums.subarray(0, columns), (sum, column) => activate(sum) * (factors?.[column] ?? 1) + (before?.[column] ?? 0)),
    )
  }
}

/** Writes a row of numbers, or their codes. */
async function rowWriter({ quantizer, output }: StepOf<'linear'>, run: Run): Promise<(row: number, values: Float32Array) => void> {
  if (!quantizer) {
    const rows = run.arena.floats(output)
    return (row, values) => rowOf(rows, row).set(values)
  }
  const [encode, rows] = [await encoder(quantizer, run), run.arena.codes(output)]
  return (row, values) => encode(values, rowOf(rows, row), row)
}

type Product = (row: number) => Float64Array

async function productOf({ input, output, gated, weight }: StepOf<'linear'>, run: Run): Promise<Product> {
  const [inputs, outputs] = [input.columns, weightColumns({ gated, output })]
  const sums = (row: ArrayLike<number>, matrix: ArrayLike<number>) => {
    const result = new Float64Array(outputs)
    for (let i = 0; i < inputs; i++) for (let o = 0; o < outputs; o++) result[o] += row[i] * matrix[i * outputs + o]
    return result
  }
  if (weight.kind === 'float32') {
    const [values, rows] = [await run.floats(weight.values), run.arena.floats(input)]
    return (row) => sums(rowOf(rows, row), values)
  }
  if (weight.kind === 'blocks') {
    const [codes, scale, minimum] = [await run.integers(weight.codes), await run.floats(weight.scale), await run.floats(weight.minimum)]
    const values = new Float64Array(codes.length)
    for (const [i, code] of codes.entries()) {
      const [output, input, block] = [Math.floor(i / inputs), i % inputs, Math.floor(i / weight.block)]
      values[input * outputs + output] = scale[block] * code + minimum[block]
    }
    const rows = run.arena.floats(input)
    return (row) => sums(rowOf(rows, row), values)
  }
  const [codes, scale, rows] = [await run.integers(weight.codes), await run.floats(weight.scale), run.arena.codes(input)]
  const columnSums = sums(new Array<number>(inputs).fill(1), codes)
  const quantization = weight.input
  const parameters = quantization.kind === 'rows' ? run.arena.floats(quantization.parameters) : undefined
  return (row) => {
    const [rowScale, offset] = quantization.kind === 'static' ? [quantization.scale, -quantization.zeroPoint] : rowOf(parameters!, row)
    return sums(rowOf(rows, row), codes).map((sum, o) => (sum + offset * columnSums[o]) * rowScale * scale[o])
  }
}
