import type { Graph } from '../../../ir/graph.js'
import type { Value } from '../../../ir/node.js'
import { type ElementwiseGraph, elementwiseGraph, isVector } from '../elementwise-graph.js'
import type { Assembler } from './assembler.js'
import { type ElementwiseOperator, elementwiseOperators, inRegister } from './elementwise-operators.js'
import { LiveValues } from './live-values.js'
import { emitGroups } from './loops.js'
import { as, at, k, type Memory, rax, rcx, rdx, rsp, type Vector } from './operands.js'
import { kernel, Parameters } from './parameters.js'
import { VectorConstants, type VectorMachine } from './vector-machine.js'

/** Code of a graph over flat memory, and what it is called with. */
export interface ElementwiseKernel {
  readonly code: Uint8Array
  /** `count`: elements of every array; `input NAME` and `output NAME`: addresses; `scalar NAME`: the bits of a float32. */
  readonly parameters: Parameters<string>
}

/**
 * Code of a graph whose operators work element by element on float32 inputs of shape ['n'] and scalars []: one loop, in which
 * values between operators stay in registers. Every operator rounds for itself, as IEEE 754 says, so that the results are those
 * of the reference evaluation bit for bit (NaNs are alike). Outputs may lie over inputs, at the same place; nothing beyond the
 * last element is touched.
 *
 * @returns undefined where the graph has other operators, dtypes or shapes
 * @example
 * const net = new Net()
 * net.output('y', net.op('Neg', [net.input('x', 'float32', ['n'])]))
 * (await elementwiseKernel(net.graph, vectorMachines.avx2))?.parameters.names // ['count', 'input x', 'output y']
 */
export async function elementwiseKernel(
  graph: Graph,
  machine: VectorMachine,
  operators: Readonly<Record<string, ElementwiseOperator>> = elementwiseOperators,
): Promise<ElementwiseKernel | undefined> {
  const found = await elementwiseGraph(graph, operators)
  if (!found) return undefined
  const parameters = new Parameters([
    'count',
    ...graph.inputs.map((input) => wordOf(input)),
    ...graph.outputs.map(({ name }) => `output ${name}`),
  ])
  return { parameters, code: new Loop(graph, found.steps, found.constants, machine, parameters).code() }
}

function wordOf(input: Value): string {
  return `${isVector(input) ? 'input' : 'scalar'} ${input.name}`
}

/** The vectors that a turn of the loop works on: how it reads and writes them. */
interface Turn {
  load(to: Vector, from: Memory): void
  store(to: Memory, vector: Vector): void
}

class Loop {
  readonly #constants: VectorConstants
  /** What is the same for all elements: repeated over a vector on the stack from the start. */
  readonly #repeated: readonly Value[]
  /** A vector on the stack for every value, of which most need none. */
  readonly #slots: ReadonlyMap<Value, Memory>

  constructor(
    readonly graph: Graph,
    readonly steps: ElementwiseGraph<ElementwiseOperator>['steps'],
    readonly numbers: ReadonlyMap<Value, number>,
    readonly machine: VectorMachine,
    readonly parameters: Parameters<string>,
  ) {
    this.#constants = new VectorConstants(machine)
    this.#repeated = [...numbers.keys(), ...graph.inputs.filter((input) => !isVector(input))]
    const values = new Set([...this.#repeated, ...graph.inputs, ...steps.map(({ node }) => node.output)])
    this.#slots = new Map([...values].map((value, place) => [value, at(rsp, place * machine.bytes)]))
  }

  code(): Uint8Array {
    const { lanes, bytes } = this.machine
    return kernel(
      this.#slots.size * bytes,
      (a) => {
        this.#emitRepeated(a)
        a.xor(rcx, rcx)
        a.mov(rdx, this.parameters.at('count'))
        const turn: Turn = { load: (to, from) => a.vmovups(to, from), store: (to, vector) => a.vmovups(to, vector) }
        const group = () => {
          this.#emitTurn(a, this.machine.registers, turn)
          a.add(rcx, lanes)
        }
        emitGroups(a, rdx, lanes, group, () => this.#emitTail(a))
      },
      (a) => this.#constants.place(a),
    )
  }

  #emitRepeated(a: Assembler): void {
    const [vector] = this.machine.registers
    for (const value of this.#repeated) {
      const number = this.numbers.get(value)
      a.vbroadcastss(vector, number === undefined ? this.parameters.at(wordOf(value)) : this.#constants.float(number))
      a.vmovups(this.#slots.get(value)!, vector)
    }
  }

  /** The elements that are left, fewer than a vector. */
  #emitTail(a: Assembler): void {
    const { registers } = this.machine
    const mask = registers.at(-1)!
    const index = this.#constants.words((lane) => lane)
    a.vmovd(as('xmm', registers[0]), as('r32', rdx))
    a.vpbroadcastd(registers[0], as('xmm', registers[0]))
    if (this.machine.name === 'avx512') {
      const lanes = k[7]
      a.vpcmpgtd(lanes, registers[0], index)
      const load = (to: Vector, from: Memory) => a.vmovups(to.zeroed(lanes), from)
      this.#emitTurn(a, registers, { load, store: (to, vector) => a.vmovups(to.masked(lanes), vector) })
    } else {
      a.vpcmpgtd(mask, registers[0], index)
      const load = (to: Vector, from: Memory) => a.vmaskmovps(to, mask, from)
      this.#emitTurn(a, registers.slice(0, -1), { load, store: (to, vector) => a.vmaskmovps(to, mask, vector) })
    }
  }

  /** All operators on a vector of elements; what is written is written last, since it may lie over what is read. */
  #emitTurn(a: Assembler, registers: readonly Vector[], turn: Turn): void {
    const { graph, machine } = this
    const element = (word: string) => {
      a.mov(rax, this.parameters.at(word))
      return at(rax, 0, rcx, 4)
    }
    const values = new LiveValues(a, registers, graph, this.#slots, this.#repeated, (to, input) => turn.load(to, element(wordOf(input))))
    for (const { node, operator } of this.steps) {
      const inputs = node.inputs as readonly Value[]
      const operands = inputs.map((input) => values.placeOf(input, inputs))
      const [to, ...temporaries] = [values.take(inputs), values.take(inputs), values.take(inputs)]
      operator.emit({ a, machine, constants: this.#constants, to, temporaries: temporaries as [Vector, Vector] }, operands)
      values.release(...temporaries)
      values.define(node.output, to)
      for (const input of inputs) values.used(input)
    }
    for (const output of graph.outputs) values.placeOf(output, [output])
    for (const output of graph.outputs) {
      const temporary = values.take([output])
      turn.store(element(`output ${output.name}`), inRegister(a, values.placeOf(output, [output]), temporary))
      values.release(temporary)
    }
  }
}
