import { availableParallelism } from 'node:os'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import { printGraph } from '../../ir/print.js'
import { chooseFloatMachine, type DotMachine, panelColumns } from '../compiled/x64/dot-machine.js'
import { elementwiseKernel } from '../compiled/x64/elementwise.js'
import { elementwiseFunctions } from '../compiled/x64/elementwise-functions.js'
import { processorFeatures } from '../compiled/x64/features.node.js'
import { scratchBytes } from '../compiled/x64/matrix-blocks.js'
import { matrixProduct } from '../compiled/x64/matrix-product.js'
import { mapCode, mapMemory } from '../compiled/x64/memory.node.js'
import { vectorMachineOf } from '../compiled/x64/vector-machine.js'
import { ort, type Pointer } from './c-api.node.js'
import { type CustomOperator, keptText, mostPorts, operatorDomain } from './custom-operators.node.js'
import { type Chain, chainGraph, elementwiseChains } from './elementwise-chains.js'
import { elementwiseOperator, elementwiseTask } from './elementwise-operator.js'
import { ownDomain, productKinds, productName, useMatrixProducts } from './matrix-products.js'
import { type ProductMemory, productOperator } from './product-operator.js'

/** Operators in machine code that this process has made; their code stays as long as it lives. */
class OwnOperators {
  readonly #machine: DotMachine
  readonly #products: readonly CustomOperator[]
  /** By the text of the chain. */
  readonly #chains = new Map<string, CustomOperator | null>()
  readonly #mismatch = keptText('the inputs of an operator do not fit, or are empty')

  constructor(machine: DotMachine) {
    this.#machine = machine
    const memory = productMemory(2 * availableParallelism())
    this.#products = productKinds.map((kind) => ({
      name: productName(kind),
      inputs: Array(kind.hasBias ? 3 : 2).fill('float32'),
      outputs: ['float32'],
      compute: mapCode(
        productOperator({
          ...kind,
          functions: ort().addresses,
          task: mapCode(matrixProduct(machine, kind)).address,
          memory,
          tasks: tasksEach * availableParallelism(),
          tile: [machine.rows, panelColumns(machine)],
          mismatch: this.#mismatch,
        }),
      ).address,
    }))
  }

  /** All of them, for a session; those that are made later are not among them. */
  domain(): Pointer {
    return operatorDomain(ownDomain, [...this.#products, ...[...this.#chains.values()].filter((operator) => operator !== null)])
  }

  async use(graph: Graph, kept: ReadonlySet<Value>): Promise<void> {
    useMatrixProducts(graph, kept)
    const types = new Set(Object.keys(elementwiseFunctions))
    for (const chain of elementwiseChains(graph, types, mostPorts, kept)) {
      const operator = await this.#chainOperator(chain, graph)
      if (!operator) continue
      const { last, inputs } = chain
      const node = graph.add(
        operator.name,
        inputs.map(({ value }) => value),
        { domain: ownDomain, name: last.name, before: last },
      )
      Object.assign(node.output, { dtype: 'float32', shape: last.output.shape })
      graph.replace(last, node.output)
    }
    graph.prune()
  }

  async #chainOperator(chain: Chain, graph: Graph): Promise<CustomOperator | null> {
    const flat = await chainGraph(chain, graph)
    const kinds = chain.inputs.map(({ kind }) => kind)
    const key = `${kinds} ${printGraph(flat)}`
    const known = this.#chains.get(key)
    if (known !== undefined) return known
    const kernel = await elementwiseKernel(flat, vectorMachineOf(this.#machine), elementwiseFunctions)
    const operator = kernel
      ? {
          name: `Elementwise${this.#chains.size}`,
          inputs: Array(kinds.length).fill('float32'),
          outputs: ['float32' as const],
          compute: mapCode(
            elementwiseOperator(kinds, {
              functions: ort().addresses,
              task: mapCode(elementwiseTask(kinds, mapCode(kernel.code).address)).address,
              mismatch: this.#mismatch,
            }),
          ).address,
        }
      : null
    this.#chains.set(key, operator)
    return operator
  }
}

/** Memory that is touched only as far as tasks run at the same time. */
function productMemory(slots: number): ProductMemory {
  return { scratch: mapMemory(slots * scratchBytes(), { hugePages: true }).address, taken: mapMemory(64 * slots).address, slots }
}

/** Tasks for each processor, so that one that is held up does not hold up all. */
const tasksEach = 2

let found: OwnOperators | null | undefined

/** The operators, or null where the processor has no AVX2 or the system forbids new code. */
function ownOperators(): OwnOperators | null {
  if (found === undefined) found = operatorsHere()
  return found
}

function operatorsHere(): OwnOperators | null {
  try {
    const machine = chooseFloatMachine(processorFeatures())
    return machine ? new OwnOperators(machine) : null
  } catch {
    return null
  }
}

/** The OrtCustomOpDomain of all operators that there are by now, or null where there are none. */
export function ownOperatorDomain(): Pointer | null {
  return ownOperators()?.domain() ?? null
}

/** A copy of a graph that uses operators in machine code where it can; the graph itself where there are none. */
export async function withOwnOperators(graph: Graph, observed: readonly string[] = []): Promise<Graph> {
  const operators = ownOperators()
  if (!operators) return graph
  const copy = graph.clone()
  await operators.use(copy, new Set(observed.flatMap((name) => copy.value(name) ?? [])))
  return copy
}
