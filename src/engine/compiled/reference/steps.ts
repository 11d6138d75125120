import type { Rotation, StepKind, StepOf } from '../plan/steps.js'
import { isView, scaledColumns } from '../plan/steps.js'
import type { Past, Rows } from './arrays.js'
import { attend } from './attention.js'
import { activationFunctions, binaryOperators } from './functions.js'
import { linear } from './linear.js'
import { encoder, rowOf } from './quantize.js'
import type { Run } from './run.js'

/** What each kind of step computes, in plain JavaScript: sums in float64, results rounded to float32. */
export const referenceSteps: { readonly [K in StepKind]: (step: StepOf<K>, run: Run) => void | Promise<void> } = {
  async embed({ lookups, output }, run) {
    const rows = run.arena.floats(output)
    const sums = new Float64Array(rows.count * rows.columns)
    for (const { table, numbers } of lookups) {
      const values = (await table.values.read()) as Float32Array | Int8Array
      const scale = table.scale && (await run.floats(table.scale))
      const block = scale ? scaledColumns(table) : 1
      run.numbers(numbers).forEach((number, row) => {
        for (let column = 0; column < rows.columns; column++) {
          const at = number * rows.columns + column
          sums[row * rows.columns + column] += (scale ? scale[Math.floor(at / block)] : 1) * values[at]
        }
      })
    }
    for (let row = 0; row < rows.count; row++) rowOf(rows, row).set(sums.subarray(row * rows.columns, (row + 1) * rows.columns))
  },

  patches({ input, channels, height, width, size, leading, output }, run) {
    const rows = run.arena.floats(output)
    const images = run.batch.images[input]
    const across = width / size
    for (let row = 0; row < rows.count; row++) {
      const piece = run.places[row] - leading
      const target = rowOf(rows, row)
      if (piece < 0) {
        target.fill(0)
        continue
      }
      const [top, left] = [Math.floor(piece / across) * size, (piece % across) * size]
      for (let channel = 0; channel < channels; channel++)
        for (let y = 0; y < size; y++) {
          const from = ((run.sequences[row] * channels + channel) * height + top + y) * width + left
          target.set(images.subarray(from, from + size), (channel * size + y) * size)
        }
    }
  },

  linear,

  async norm({ input, centered, epsilon, weight, bias, output, codes }, run) {
    const [rows, results] = [run.arena.floats(input), run.arena.floats(output)]
    const [factors, terms] = [await run.floats(weight), bias && (await run.floats(bias))]
    const size = factors.length
    for (let row = 0; row < rows.count; row++)
      for (let first = 0; first < rows.columns; first += size) {
        const group = rowOf(rows, row).subarray(first, first + size)
        const mean = centered ? group.reduce((a, b) => a + b, 0) / size : 0
        const variance = group.reduce((sum, x) => sum + (x - mean) ** 2, 0) / size
        const result = Float32Array.from(group, (x, i) => ((x - mean) / Math.sqrt(variance + epsilon)) * factors[i] + (terms?.[i] ?? 0))
        rowOf(results, row).set(result, first)
      }
    if (codes)
      await referenceSteps.quantize({ kind: 'quantize', name: 'codes', input: output, ...codes.quantizer, output: codes.output }, run)
  },

  async quantize({ input, output, ...quantizer }, run) {
    const [rows, codes, encode] = [run.arena.floats(input), run.arena.codes(output), await encoder(quantizer, run)]
    for (let row = 0; row < rows.count; row++) encode(rowOf(rows, row), rowOf(codes, row), row)
  },

  activation({ function: name, input, gate, output }, run) {
    const [rows, gates, results] = [run.arena.floats(input), gate && run.arena.floats(gate), run.arena.floats(output)]
    const activate = activationFunctions[name]
    for (let row = 0; row < rows.count; row++) {
      const factors = gates && rowOf(gates, row)
      rowOf(results, row).set(rowOf(rows, row).map((x, i) => activate(x) * (factors?.[i] ?? 1)))
    }
  },

  async combine({ operator, left, right, output }, run) {
    const [rows, results] = [run.arena.floats(left), run.arena.floats(output)]
    const operate = binaryOperators[operator]
    const constant = isView(right) ? undefined : await run.floats(right)
    const others = isView(right) ? run.arena.floats(right) : undefined
    for (let row = 0; row < rows.count; row++) {
      const other = constant ?? rowOf(others!, row)
      rowOf(results, row).set(rowOf(rows, row).map((x, i) => operate(x, other[other.length === 1 ? 0 : i])))
    }
  },

  length({ input, output }, run) {
    const [rows, results] = [run.arena.floats(input), run.arena.floats(output)]
    for (let row = 0; row < rows.count; row++) rowOf(results, row)[0] = Math.hypot(...rowOf(rows, row))
  },

  largest({ input, output }, run) {
    const [rows, results] = [run.arena.floats(input), run.arena.floats(output)]
    for (let row = 0; row < rows.count; row++) {
      const values = rowOf(rows, row)
      rowOf(results, row)[0] = Math.max(0, values.indexOf(Math.max(...values)))
    }
  },

  async rotary({ input, headSize, output, ...rotation }, run) {
    await rotate(rotation, headSize, run.arena.floats(input), run.arena.floats(output), run)
  },

  async attention(step, run) {
    const { floats } = { floats: (view: typeof step.key) => run.arena.floats(view) }
    const rotated = async (rows: Rows<Float32Array>) => {
      if (!step.rotation) return rows
      const result = { ...rows, data: rows.data.slice(0, rows.count * rows.stride) }
      await rotate(step.rotation, step.query.columns / step.heads, rows, result, run)
      return result
    }
    const [query, key] = [await rotated(floats(step.query)), await rotated(floats(step.key))]
    const [value, output] = [floats(step.value), floats(step.output)]
    run.batch.pasts.forEach((past, sequence) => {
      const [first, end] = run.batch.starts.slice(sequence, sequence + 2)
      const all = ({ data, stride, columns }: typeof key, part: 'keys' | 'values'): Past => {
        if (step.cache === undefined) return { data: data.subarray(first * stride), stride, tokens: end - first }
        const cache = run.batch.caches![sequence]
        const tokens = past + end - first
        for (let row = first; row < end; row++)
          cache.write(step.cache, part, data.subarray(row * stride, row * stride + columns), past + row - first)
        return { data: cache.read(step.cache, part, tokens), stride: columns, tokens }
      }
      attend(step, query, all(key, 'keys'), all(value, 'values'), first, end - first, output)
    })
  },

  pool({ how, input, output }, run) {
    const [rows, results] = [run.arena.floats(input), run.arena.floats(output)]
    for (let sequence = 0; sequence < results.count; sequence++) {
      const [first, end] = run.batch.starts.slice(sequence, sequence + 2)
      const result = rowOf(results, sequence)
      if (how !== 'sum') result.set(rowOf(rows, how === 'first' ? first : end - 1))
      else
        result.set(
          result.map((_, column) => {
            let sum = 0
            for (let row = first; row < end; row++) sum += rowOf(rows, row)[column]
            return sum
          }),
        )
    }
  },

  keep({ input }, run) {
    if (!run.batch.keepLast) return
    const rows = run.arena.floats(input)
    const count = run.batch.starts.length - 1
    for (let sequence = 0; sequence < count; sequence++) rowOf(rows, sequence).set(rowOf(rows, run.batch.starts[sequence + 1] - 1))
    run.arena.rows.token = count
  },

  count({ output }, run) {
    const results = run.arena.floats(output)
    for (let sequence = 0; sequence < results.count; sequence++)
      rowOf(results, sequence)[0] = run.batch.starts[sequence + 1] - run.batch.starts[sequence]
  },
}

/** Writes the rotated heads of rows; input and output may be the same. */
async function rotate(
  rotation: Rotation,
  headSize: number,
  rows: Rows<Float32Array>,
  results: Rows<Float32Array>,
  run: Run,
): Promise<void> {
  const { rotary, interleaved, cos, sin, numbers } = rotation
  const [cosines, sines, positions] = [await run.floats(cos), await run.floats(sin), run.numbers(numbers)]
  const half = rotary / 2
  for (let row = 0; row < rows.count; row++) {
    const values = rowOf(rows, row).slice()
    const result = rowOf(results, row)
    result.set(values)
    for (let head = 0; head < rows.columns; head += headSize)
      for (let i = 0; i < half; i++) {
        const [first, second] = interleaved ? [head + 2 * i, head + 2 * i + 1] : [head + i, head + i + half]
        const [c, s] = [cosines[positions[row] * half + i], sines[positions[row] * half + i]]
        result[first] = values[first] * c - values[second] * s
        result[second] = values[first] * s + values[second] * c
      }
  }
}
