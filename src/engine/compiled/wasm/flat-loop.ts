import type { Graph } from '../../../ir/graph.js'
import type { Value as GraphValue } from '../../../ir/node.js'
import { elementwiseGraph } from '../elementwise-graph.js'
import { sumLanes } from '../flat-kernels.js'
import { elementwiseOperators } from './elementwise-operators.js'
import { flatMemoryImport } from './flat-memory.js'
import type { Local } from './function.js'
import { ModuleBuilder } from './module.js'
import { f32x4, f64x2, i8x16, i32, type Value, v128 } from './values.js'

/** A loop over arrays. The module's `run` takes the bytes of each, their addresses (inputs, then outputs) and the scalars. */
export interface FlatLoop {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly scalars: readonly string[]
}

/**
 * The loop of a graph whose operators work element by element on float32 inputs of shape ['n'] and scalars []. Every operator rounds for
 * itself, as IEEE 754 says, so that the results are those of the reference evaluation bit for bit (NaNs are alike). Outputs may lie over
 * inputs, at the same place. The bytes are a multiple of 16.
 *
 * @returns undefined where the graph has other operators, dtypes or shapes
 * @example
 * const net = new Net()
 * net.output('y', net.op('Neg', [net.input('x', 'float32', ['n'])]))
 * (await elementwiseLoop(net.graph))?.inputs // ['x']
 */
export async function elementwiseLoop(graph: Graph): Promise<FlatLoop | undefined> {
  const found = await elementwiseGraph(graph, elementwiseOperators)
  if (!found) return undefined
  const { vectors, scalars, constants, steps, outputs } = found
  const module = new ModuleBuilder(flatMemoryImport())
  const arrays = [...vectors, ...outputs]
  const types = ['i32', ...arrays.map(() => 'i32' as const), ...scalars.map(() => 'f32' as const)] as const
  const run = module.function('run', types, [], (f) => {
    const [bytes, ...addresses] = f.parameters.slice(0, arrays.length + 1) as Local<'i32'>[]
    const numbers = f.parameters.slice(arrays.length + 1) as Local<'f32'>[]
    const place = (array: number) => i32.add(addresses[array], at)
    const values = new Map<GraphValue, Value<'v128'>>()
    for (const [i, scalar] of scalars.entries()) values.set(scalar, f.local('v128', f32x4.splat(numbers[i])))
    for (const [constant, number] of constants) values.set(constant, f.floats(number))
    const at = f.local('i32')
    f.for(at, bytes, 16, () => {
      for (const [i, input] of vectors.entries()) values.set(input, f.local('v128', v128.load(place(i))))
      for (const { node, operator } of steps) {
        const operands = node.inputs.map((input) => values.get(input!)!)
        values.set(node.output, f.local('v128', operator.emit(f, operands)))
      }
      for (const [i, output] of outputs.entries()) f.do(v128.store(place(vectors.length + i), values.get(output)!))
    })
  })
  module.export('run', run)
  return { bytes: module.bytes(), inputs: namesOf(vectors), outputs: namesOf(outputs), scalars: namesOf(scalars) }
}

/**
 * The loop of the sums of squares of the elements i, i + 16, i + 32 ... for each i below 16, in float64 and in this order: they are added to
 * the {@link sumLanes} float64 at the address that is the loop's only scalar. The bytes are a multiple of 64.
 */
export function sumOfSquaresLoop(): FlatLoop {
  const module = new ModuleBuilder(flatMemoryImport())
  const run = module.function('run', ['i32', 'i32', 'i32'], [], (f) => {
    const [bytes, memory, place] = f.parameters as Local<'i32'>[]
    const at = f.local('i32')
    const sums = Array.from({ length: sumLanes / 2 }, (_, i) => f.local('v128', v128.load(place, 16 * i)))
    const [four, two] = f.localsOf('v128', 2)
    f.for(at, bytes, 4 * sumLanes, () => {
      for (let i = 0; i < sums.length; i += 2) {
        f.set(four, v128.load(i32.add(memory, at), 8 * i))
        for (const half of [0, 1]) {
          f.set(two, f64x2.promote_low_f32x4(half ? i8x16.shuffle(four, four, upperHalf) : four))
          f.set(sums[i + half], f64x2.add(sums[i + half], f64x2.mul(two, two)))
        }
      }
    })
    for (const [i, sum] of sums.entries()) f.do(v128.store(place, sum, 16 * i))
  })
  module.export('run', run)
  return { bytes: module.bytes(), inputs: ['memory'], outputs: [], scalars: ['sums'] }
}

/** The bytes of a vector's upper half, twice. */
const upperHalf = Array.from({ length: 16 }, (_, i) => 8 + (i % 8))

function namesOf(values: readonly GraphValue[]): string[] {
  return values.map(({ name }) => name)
}
