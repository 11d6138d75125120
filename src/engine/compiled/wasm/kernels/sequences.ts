import type { StepOf } from '../../plan/steps.js'
import { sequenceWords, type Word } from '../../program.js'
import type { FunctionBuilder, Local } from '../function.js'
import { f32, f32x4, floats, i32, v128 } from '../values.js'
import { copies, eachChunk, kernel, rowsOf, storeFloats, type WasmKernel, walk } from './kernel.js'

type SequenceWord = (typeof sequenceWords)[number]

/** Runs the body for each sequence of the table, with what the table says of it. */
export function eachSequence(
  f: FunctionBuilder,
  table: Local<'i32'>,
  sequences: Local<'i32'>,
  body: (sequence: Readonly<Record<SequenceWord, Local<'i32'>>>) => void,
): void {
  const locals = Object.fromEntries(sequenceWords.map((name) => [name, f.local('i32')])) as Record<SequenceWord, Local<'i32'>>
  const left = f.local('i32', sequences)
  f.while(left, () => {
    for (const [i, name] of sequenceWords.entries()) f.set(locals[name], i32.load(table, 4 * i))
    body(locals)
    f.add(table, 4 * sequenceWords.length)
    f.add(left, -1)
  })
}

/** The words of a kernel that walks along the sequences. */
export const sequenceTable = { table: { sequences: true }, sequences: { rows: 'sequence' } } as const

export function pool({ how, input, output }: StepOf<'pool'>): WasmKernel {
  const words = { ...sequenceTable, ...rowsOf('input', input), ...rowsOf('output', output) }
  return kernel(`pool ${how} ${input.columns}`, words, (f, w) => {
    const [sum, part] = f.localsOf('v128', 2)
    const [row, rows] = f.localsOf('i32', 2)
    eachSequence(f, w.table, w.sequences, (sequence) => {
      const first = how === 'last' ? i32.add(sequence.first, i32.sub(sequence.rows, 1)) : sequence.first
      const [from, to] = copies(f, i32.add(w.input, i32.mul(first, w.inputStride)), w.output)
      eachChunk(f, input.columns, 4, [walk(from, 4), walk(to, 4)], (count) => {
        if (how === 'sum') {
          f.set(sum, floats(0))
          f.set(row, from)
          f.set(rows, sequence.rows)
          f.while(rows, () => {
            f.set(part, v128.load(row))
            f.set(sum, f32x4.add(sum, part))
            f.add(row, w.inputStride)
            f.add(rows, -1)
          })
        } else f.set(sum, v128.load(from))
        f.do(...storeFloats(to, sum, count))
      })
      f.add(w.output, w.outputStride)
    })
  })
}

/** Moves the last row of each sequence to the front. Sequences lie in order, so none is overwritten before it moves. */
export function keep({ input }: StepOf<'keep'>): WasmKernel {
  const words = { ...sequenceTable, ...rowsOf('input', input) }
  return kernel(`keep ${input.columns}`, words, (f, w) => {
    const x = f.local('v128')
    const front = f.local('i32', w.input)
    eachSequence(f, w.table, w.sequences, ({ first, rows }) => {
      const last = i32.sub(i32.add(first, rows), 1)
      const [from, to] = copies(f, i32.add(w.input, i32.mul(last, w.inputStride)), front)
      eachChunk(f, input.columns, 4, [walk(from, 4), walk(to, 4)], (count) => {
        f.set(x, v128.load(from))
        f.do(...storeFloats(to, x, count))
      })
      f.add(front, w.inputStride)
    })
  })
}

export function count({ output }: StepOf<'count'>): WasmKernel {
  return kernel('count', { ...sequenceTable, ...rowsOf('output', output) }, (f, w) => {
    eachSequence(f, w.table, w.sequences, (sequence) => {
      f.do(f32.store(w.output, f32.convert_i32_s(sequence.rows)))
      f.add(w.output, w.outputStride)
    })
  })
}

export function patches(step: StepOf<'patches'>): WasmKernel {
  const { input, channels, height, width, size, leading, output } = step
  const words: Record<string, Word> = { ...sequenceTable, image: { address: { image: input } }, ...rowsOf('output', output) }
  const key = `patches ${channels}x${height}x${width} in ${size} after ${leading}`
  return kernel(key, words, (f, w) => {
    const [piece, row, from, to, y, channel] = f.localsOf('i32', 6)
    const x = f.local('v128')
    eachSequence(f, w.table, w.sequences, (sequence) => {
      f.set(row, i32.add(w.output, i32.mul(sequence.first, w.outputStride)))
      f.set(piece, i32.const(-leading))
      f.for(piece, i32.sub(sequence.rows, leading), 1, () => {
        f.set(to, row)
        f.if(
          i32.lt_s(piece, 0),
          () => {
            f.set(x, floats(0))
            eachChunk(f, channels * size * size, 4, [walk(to, 4)], (count) => f.do(...storeFloats(to, x, count)))
          },
          () => {
            const top = i32.mul(i32.div_u(piece, width / size), 4 * size * width)
            const left = i32.mul(i32.rem_u(piece, width / size), 4 * size)
            f.set(from, i32.add(w.image, i32.add(top, left)))
            f.set(channel, i32.const(channels))
            f.while(channel, () => {
              f.set(y, i32.const(size))
              f.while(y, () => {
                const [read, write] = copies(f, from, to)
                eachChunk(f, size, 4, [walk(read, 4), walk(write, 4)], (count) => {
                  f.set(x, v128.load(read))
                  f.do(...storeFloats(write, x, count))
                })
                f.add(from, 4 * width)
                f.add(to, 4 * size)
                f.add(y, -1)
              })
              f.add(from, 4 * width * (height - size))
              f.add(channel, -1)
            })
          },
        )
        f.add(row, w.outputStride)
      })
      f.add(w.image, 4 * channels * height * width)
    })
  })
}
