import { isView, type StepOf, scaledColumns } from '../../plan/steps.js'
import type { Word } from '../../program.js'
import type { Constants } from '../constants.js'
import type { FunctionBuilder, Local } from '../function.js'
import { f32, f32x4, f64, floats, i16x8, i32, i32x4, type Value, v128 } from '../values.js'
import { activationFunctions, multiplyAdd } from './functions.js'
import {
  copies,
  eachChunk,
  eachRow,
  firstLanes,
  kernel,
  reduce,
  rowsOf,
  storeFloats,
  type Vector,
  type Walk,
  type WasmKernel,
  walk,
} from './kernel.js'
import { codesOfRows } from './quantize.js'

export function embed({ lookups, output }: StepOf<'embed'>, constants: Constants): WasmKernel {
  const { columns } = output
  const words: Record<string, Word> = { rows: { rows: 'token' }, ...rowsOf('output', output) }
  for (const [i, { table, numbers }] of lookups.entries()) {
    words[`numbers${i}`] = { address: numbers }
    words[`table${i}`] = { constant: constants.of(table.values) }
    if (table.scale) words[`scale${i}`] = { constant: constants.of(table.scale) }
  }
  /** Columns that share a scale; 0 of float32. */
  const scaled = lookups.map(({ table }) => (table.scale ? scaledColumns(table) : 0))
  return kernel(`embed ${columns} ${scaled.join(' ')}`, words, (f, w) => {
    const four = f.local('i32', i32.const(4))
    const numbers = lookups.map((_, i) => [w[`numbers${i}`], four] as const)
    eachRow(f, w.rows, [...numbers, [w.output, w.outputStride]], () => {
      const [to] = copies(f, w.output)
      const from = scaled.map((block, i) => {
        const number = f.local('i32', i32.load(w[`numbers${i}`]))
        return f.local('i32', i32.add(w[`table${i}`], i32.mul(number, columns * (block ? 1 : 4))))
      })
      const scaleOf = (i: number) => {
        const block = i32.div_u(i32.sub(from[i], w[`table${i}`]), scaled[i])
        return v128.load32_splat(i32.add(w[`scale${i}`], i32.shl(block, 2)))
      }
      const sum = f.local('v128')
      const pointers = from.map((pointer, i): Walk<number> => [pointer, scaled[i] ? 1 : 4])
      eachChunk(f, columns, 4, [[to, 4], ...pointers], (count) => {
        from.forEach((pointer, i) => {
          const row = scaled[i] ? f32x4.mul(signedBytes(pointer), scaleOf(i)) : v128.load(pointer)
          f.set(sum, i ? f32x4.add(sum, row) : row)
        })
        f.do(...storeFloats(to, sum, count))
      })
    })
  })
}

/** Four signed bytes in memory as floats. */
function signedBytes(address: Value<'i32'>): Vector {
  return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(address))))
}

export function norm(step: StepOf<'norm'>, constants: Constants): WasmKernel {
  const { input, centered, epsilon, weight, bias, output } = step
  const size = weight.size
  const codes = step.codes && codesOfRows(step.codes.quantizer, step.codes.output, constants)
  const words: Record<string, Word> = {
    rows: { rows: input.buffer.per },
    ...rowsOf('input', input),
    ...rowsOf('output', output),
    epsilon: { float: epsilon },
    weight: { constant: constants.of(weight) },
    ...(bias && { bias: { constant: constants.of(bias) } }),
    ...codes?.words,
  }
  const key = `norm ${input.columns} in ${size} ${centered ? 'centered ' : ''}${bias ? 'bias' : ''}`
  return kernel(codes ? `${key} codes ${codes.key}` : key, words, (f, w) => {
    const groups = f.local('i32')
    const [from, to] = f.localsOf('i32', 2)
    const row = codes?.begin(f, w)
    eachRow(f, w.rows, [walk(w.input, w.inputStride), walk(w.output, w.outputStride), ...(row?.walks ?? [])], () => {
      f.set(from, w.input)
      f.set(to, w.output)
      f.set(groups, i32.const(input.columns / size))
      f.while(groups, () => {
        normGroup(f, w, { from, to, size, centered, bias: bias !== undefined })
        f.add(from, 4 * size)
        f.add(to, 4 * size)
        f.add(groups, -1)
      })
      row?.emit(w.output)
    })
  })
}

interface NormGroup {
  readonly from: Local<'i32'>
  readonly to: Local<'i32'>
  readonly size: number
  readonly centered: boolean
  readonly bias: boolean
}

function normGroup(f: FunctionBuilder, w: Readonly<Record<string, Local<'i32'>>>, { from, to, size, centered, bias }: NormGroup): void {
  const mean = f.local('v128', floats(0))
  if (centered)
    f.set(
      mean,
      f32x4.splat(
        f32.div(
          sumOf(f, from, size, (x) => x),
          size,
        ),
      ),
    )
  const x = f.local('v128')
  const variance = f32.div(
    sumOf(f, from, size, (value, count) => {
      f.set(x, centered ? firstLanes(f32x4.sub(value, mean), count) : value)
      return f32x4.mul(x, x)
    }),
    size,
  )
  const factor = f.local('v128', f32x4.splat(f32.div(f32.const(1), f32.sqrt(f32.add(variance, f32.reinterpret_i32(w.epsilon))))))
  const [read, write, weight, term] = copies(f, from, to, w.weight, w.bias ?? w.weight)
  eachChunk(f, size, 4, [walk(read, 4), walk(write, 4), walk(weight, 4), walk(term, 4)], (count) => {
    f.set(x, f32x4.mul(centered ? f32x4.sub(v128.load(read), mean) : v128.load(read), factor))
    f.set(x, bias ? multiplyAdd(f, x, v128.load(weight), v128.load(term)) : f32x4.mul(x, v128.load(weight)))
    f.do(...storeFloats(write, x, count))
  })
}

/** The sum of a function of `size` floats; it gets four at a time, those beyond the last as zeros. */
function sumOf(f: FunctionBuilder, from: Value<'i32'>, size: number, part: (x: Vector, count: number) => Vector): Local<'f32'> {
  const sums = f.localsOf('v128', 2)
  for (const sum of sums) f.set(sum, floats(0))
  const [pointer] = copies(f, from)
  eachChunk(f, size, 8, [walk(pointer, 4)], (count) => {
    for (let first = 0; first < count; first += 4) {
      const sum = sums[first / 4]
      const lanes = Math.min(4, count - first)
      f.set(sum, f32x4.add(sum, part(firstLanes(v128.load(pointer, 4 * first), lanes), lanes)))
    }
  })
  f.set(sums[0], f32x4.add(sums[0], sums[1]))
  return reduce(f, sums[0], f32.add)
}

export function activation(step: StepOf<'activation'>): WasmKernel {
  const { input, gate, output } = step
  const words: Record<string, Word> = {
    rows: { rows: input.buffer.per },
    ...rowsOf('input', input),
    ...rowsOf('output', output),
    ...(gate && rowsOf('gate', gate)),
  }
  return kernel(`activation ${step.function} ${input.columns}${gate ? ' gate' : ''}`, words, (f, w) => {
    const walks: Walk<Local<'i32'>>[] = [walk(w.input, w.inputStride), walk(w.output, w.outputStride)]
    if (gate) walks.push([w.gate, w.gateStride])
    const x = f.local('v128')
    eachRow(f, w.rows, walks, () => {
      const [from, to, factor] = copies(f, w.input, w.output, w.gate ?? w.input)
      eachChunk(f, input.columns, 4, [walk(from, 4), walk(to, 4), walk(factor, 4)], (count) => {
        f.set(x, v128.load(from))
        const result = activationFunctions[step.function](f, x)
        f.set(x, gate ? f32x4.mul(result, v128.load(factor)) : result)
        f.do(...storeFloats(to, x, count))
      })
    })
  })
}

const operators = { add: f32x4.add, subtract: f32x4.sub, multiply: f32x4.mul, divide: f32x4.div, maximum: f32x4.max } as const

export function combine({ operator, left, right, output }: StepOf<'combine'>, constants: Constants): WasmKernel {
  const single = (isView(right) ? right.columns : right.size) === 1
  const words: Record<string, Word> = {
    rows: { rows: left.buffer.per },
    ...rowsOf('left', left),
    ...rowsOf('output', output),
    right: isView(right) ? { address: right } : { constant: constants.of(right) },
    rightStride: isView(right) ? { stride: right } : 0,
  }
  return kernel(`combine ${operator} ${left.columns}${single ? ' with one' : ''}`, words, (f, w) => {
    const [one, result] = f.localsOf('v128', 2)
    eachRow(f, w.rows, [walk(w.left, w.leftStride), walk(w.right, w.rightStride), walk(w.output, w.outputStride)], () => {
      const [a, b, to] = copies(f, w.left, w.right, w.output)
      if (single) f.set(one, v128.load32_splat(b))
      eachChunk(f, left.columns, 4, [walk(a, 4), walk(b, 4), walk(to, 4)], (count) => {
        f.set(result, operators[operator](v128.load(a), single ? one : v128.load(b)))
        f.do(...storeFloats(to, result, count))
      })
    })
  })
}

export function length({ input, output }: StepOf<'length'>): WasmKernel {
  const words = { rows: { rows: input.buffer.per }, ...rowsOf('input', input), ...rowsOf('output', output) }
  return kernel(`length ${input.columns}`, words, (f, w) => {
    const [low, high] = f.localsOf('f64', 2)
    eachRow(f, w.rows, [walk(w.input, w.inputStride), walk(w.output, w.outputStride)], () => {
      f.set(low, f64.const(0))
      const [from] = copies(f, w.input)
      eachChunk(f, input.columns, 1, [walk(from, 4)], () => {
        f.set(high, f64.promote_f32(f32.load(from)))
        f.set(low, f64.add(low, f64.mul(high, high)))
      })
      f.do(f32.store(w.output, f32.demote_f64(f64.sqrt(low))))
    })
  })
}

export function largest({ input, output }: StepOf<'largest'>): WasmKernel {
  const words = { rows: { rows: input.buffer.per }, ...rowsOf('input', input), ...rowsOf('output', output) }
  return kernel(`largest ${input.columns}`, words, (f, w) => {
    const [most, value] = f.localsOf('f32', 2)
    const best = f.local('i32')
    eachRow(f, w.rows, [walk(w.input, w.inputStride), walk(w.output, w.outputStride)], () => {
      const [from] = copies(f, w.input)
      f.set(most, f32.load(from))
      f.set(best, from)
      eachChunk(f, input.columns, 1, [walk(from, 4)], () => {
        f.set(value, f32.load(from))
        f.if(f32.gt(value, most), () => {
          f.set(most, value)
          f.set(best, from)
        })
      })
      f.do(f32.store(w.output, f32.convert_i32_s(i32.shr_u(i32.sub(best, w.input), 2))))
    })
  })
}
