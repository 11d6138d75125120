import type { Tensor } from '../../../ir/tensor.js'
import type { Rotation, StepOf } from '../plan/steps.js'
import type { StepKernel, Word } from '../program.js'
import type { Assembler } from './assembler.js'
import { Lanes } from './attention-lanes.js'
import { stepKernel, type X64Context } from './context.js'
import { at, Label, type Memory, r8q, r9, r10, r11, r12, r13, rax, rcx, rsi } from './operands.js'
import { kernel, Parameters } from './parameters.js'
import { emitRows, rowPointer, rowWords } from './rows.js'
import { VectorConstants, type VectorMachine } from './vector-machine.js'

/**
 * `input`, `output`: float32 rows, strides in bytes; `numbers`: int32 of each row, `numbersStride` bytes apart; `cos`, `sin`: tables [positions,
 * half of the rotary columns], or for interleaved pairs as `interleavedTable` makes them.
 */
export const rotaryParameters = new Parameters([
  'input',
  'inputStride',
  'rows',
  'output',
  'outputStride',
  'numbers',
  'numbersStride',
  'cos',
  'sin',
])

/** Which columns of heads are rotated, and how. */
export interface RotaryShape extends Pick<Rotation, 'rotary' | 'interleaved'> {
  readonly heads: number
  readonly headSize: number
  /** Whether the output is another place, to which the columns beyond the rotary ones are copied. */
  readonly copies: boolean
}

/** The kernel of a rotary position embedding. */
export async function rotaryKernels(step: StepOf<'rotary'>, context: X64Context): Promise<StepKernel<Uint8Array>[]> {
  const { vectors } = context
  const { input, output, headSize, rotary, interleaved } = step
  const shape: RotaryShape = {
    heads: input.columns / headSize,
    headSize,
    rotary,
    interleaved,
    copies: input.buffer !== output.buffer || input.column !== output.column,
  }
  return [
    stepKernel({
      name: 'rotary',
      shape: { vectors: vectors.name, ...shape },
      code: () => rotaryEmbedding(vectors, shape),
      parameters: rotaryParameters,
      words: {
        ...rowWords('input', input),
        rows: { rows: 'token' },
        ...rowWords('output', output),
        ...(await rotationWords(step, context)),
        numbersStride: 4,
      },
    }),
  ]
}

export type RotationWords = Readonly<Record<'numbers' | 'cos' | 'sin', Word>>

/** Where tokens have their numbers, and the tables of cosines and sines in the form that the code reads. */
export async function rotationWords(rotation: Rotation, context: X64Context): Promise<RotationWords> {
  const table = (part: 'cos' | 'sin') => tableOf(rotation[part], rotation.interleaved ? part : 'plain', context)
  return { numbers: { address: rotation.numbers }, cos: { constant: await table('cos') }, sin: { constant: await table('sin') } }
}

type TableForm = 'plain' | 'cos' | 'sin'

/** The tables of a plan's steps: layers share them. */
const tables = new WeakMap<X64Context, Readonly<Record<TableForm, Map<Tensor, Promise<Float32Array>>>>>()

function tableOf(tensor: Tensor, form: TableForm, context: X64Context): Promise<Float32Array> {
  const known = tables.get(context) ?? { plain: new Map(), cos: new Map(), sin: new Map() }
  tables.set(context, known)
  const table = known[form].get(tensor) ?? readTable(tensor, form)
  known[form].set(tensor, table)
  return table
}

async function readTable(tensor: Tensor, form: TableForm): Promise<Float32Array> {
  const values = (await tensor.read()) as Float32Array
  return form === 'plain' ? values : interleavedTable(values, form)
}

/** A factor for each column of interleaved pairs: (a, b) cos + (b, a) sin, where the first sine of a pair is negative. */
export function interleavedTable(values: Float32Array, form: 'cos' | 'sin'): Float32Array {
  const sign = form === 'sin' ? -1 : 1
  return Float32Array.from({ length: 2 * values.length }, (_, i) => (i % 2 ? values[i >> 1] : sign * values[i >> 1]))
}

/** Code of a rotary position embedding. Called with `rotaryParameters`. */
export function rotaryEmbedding(machine: VectorMachine, shape: RotaryShape): Uint8Array {
  const p = rotaryParameters
  const constants = new VectorConstants(machine)
  const lanes = new Lanes(constants, rotatedColumns(shape))
  const pointers = [rowPointer(p, 'input', rsi), rowPointer(p, 'output', rcx), rowPointer(p, 'numbers', r9)]
  return kernel(
    0,
    (a) => {
      lanes.prepare(a)
      emitRows(a, p.at('rows'), pointers, () => emitRotateRow({ a, machine, lanes }, shape, p))
    },
    (a) => constants.place(a),
  )
}

/** Columns that are worked on together: a factor each, and those that are copied. */
export function rotatedColumns({ interleaved, rotary, headSize, copies }: Omit<RotaryShape, 'heads'>): [number, number] {
  return [interleaved ? rotary : rotary / 2, copies ? headSize - rotary : 0]
}

interface RowCode {
  readonly a: Assembler
  readonly machine: VectorMachine
  readonly lanes: Lanes
}

/**
 * Rotates the heads of a row from rsi to rcx, where they lie `headBytes` apart, by the number at r9. Overwrites rax, r8, and r10 to r13.
 *
 * @param parameters where the tables are
 */
export function emitRotateRow(
  { a, machine, lanes }: RowCode,
  shape: RotaryShape,
  parameters: { at(name: 'cos' | 'sin'): Memory },
  headBytes = 4 * shape.headSize,
): void {
  const [factors, rest] = rotatedColumns(shape)
  const emitHead = shape.interleaved ? emitPairs : emitHalves
  const next = new Label()
  a.movsxd(rax, at(r9))
  a.imul(rax, rax, 4 * factors)
  a.mov(r10, parameters.at('cos'))
  a.add(r10, rax)
  a.mov(r11, parameters.at('sin'))
  a.add(r11, rax)
  a.mov(r12, rsi)
  a.mov(r13, rcx)
  a.mov(r8q, shape.heads)
  a.bind(next)
  emitHead(a, machine, lanes, shape.rotary)
  emitCopy(a, machine, lanes, shape.rotary, rest)
  a.add(r12, 4 * shape.headSize)
  a.add(r13, headBytes)
  a.dec(r8q)
  a.jne(next)
}

/** (a, b) -> (a cos - b sin, a sin + b cos) for columns i and i + rotary / 2, from r12 to r13. */
function emitHalves(a: Assembler, { registers }: VectorMachine, lanes: Lanes, rotary: number): void {
  const [first, second, cos, sin, result, temporary] = registers
  for (const { first: column, count } of lanes.pieces(rotary / 2)) {
    const [low, high] = [4 * column, 4 * (column + rotary / 2)]
    lanes.load(a, first, at(r12, low), count)
    lanes.load(a, second, at(r12, high), count)
    lanes.load(a, cos, at(r10, low), count)
    lanes.load(a, sin, at(r11, low), count)
    a.vmulps(result, first, cos)
    a.vfnmadd231ps(result, second, sin)
    a.vmulps(second, second, cos)
    a.vfmadd231ps(second, first, sin)
    lanes.store(a, at(r13, low), result, count, temporary)
    lanes.store(a, at(r13, high), second, count, temporary)
  }
}

/** The same for columns 2i and 2i + 1. */
function emitPairs(a: Assembler, { registers }: VectorMachine, lanes: Lanes, rotary: number): void {
  const [pairs, swapped, factor, temporary] = registers
  for (const { first: column, count } of lanes.pieces(rotary)) {
    lanes.load(a, pairs, at(r12, 4 * column), count)
    a.vpermilps(swapped, pairs, 0xb1)
    lanes.load(a, factor, at(r10, 4 * column), count)
    a.vmulps(pairs, pairs, factor)
    lanes.load(a, factor, at(r11, 4 * column), count)
    a.vfmadd231ps(pairs, swapped, factor)
    lanes.store(a, at(r13, 4 * column), pairs, count, temporary)
  }
}

/** Copies the columns behind the rotary ones. */
function emitCopy(a: Assembler, { registers }: VectorMachine, lanes: Lanes, rotary: number, rest: number): void {
  const [values, temporary] = registers
  for (const { first, count } of lanes.pieces(rest)) {
    lanes.load(a, values, at(r12, 4 * (rotary + first)), count)
    lanes.store(a, at(r13, 4 * (rotary + first)), values, count, temporary)
  }
}
