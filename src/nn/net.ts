import type { Attribute } from '../ir/attribute.js'
import { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { ArrayTensor, type Tensor } from '../ir/tensor.js'
import { type DType, ndarray, sizeOf } from '../numbers/dtype.js'
import { inferNode } from '../ops/infer.js'
import { Parameters } from './parameters.js'

export interface OperatorOptions {
  domain?: string
  attributes?: Readonly<Record<string, Attribute>>
  outputs?: readonly string[]
  before?: Node
}

/**
 * Builds a canonical graph: every operator is inferred as it is added, so that each value knows its dtype and shape, and
 * named after the module that it belongs to.
 */
export class Net {
  readonly graph: Graph
  readonly parameters: Parameters
  /** Dotted name of the module at hand, as in the checkpoint. */
  readonly scope: string

  constructor(graph = new Graph('main'), parameters: Parameters = new Parameters(new Map()), scope = '') {
    this.graph = graph
    this.parameters = parameters
    this.scope = scope
  }

  /** The same net inside a module: `at('encoder.layer.0')`. */
  at(module: string): Net {
    return new Net(this.graph, this.parameters, this.path(module))
  }

  path(name: string): string {
    return this.scope && name ? `${this.scope}.${name}` : this.scope || name
  }

  has(name: string): boolean {
    return this.parameters.has(this.path(name))
  }

  /** The module that holds the base model in checkpoints saved with a head; this net where the checkpoint has no such module. */
  base(module: string): Net {
    return this.parameters.hasModule(this.path(module)) ? this.at(module) : this
  }

  /** Adds an operator and returns its first output. */
  op(
    operator: string,
    inputs: readonly (Value | null)[],
    attributes: Readonly<Record<string, Attribute>> = {},
    options: OperatorOptions = {},
  ): Value {
    return this.ops(operator, inputs, { ...options, attributes: { ...attributes, ...options.attributes } })[0]
  }

  /** Adds an operator and returns all its outputs. */
  ops(operator: string, inputs: readonly (Value | null)[], options: OperatorOptions = {}): readonly Value[] {
    const node = this.graph.add(operator, inputs, {
      ...options,
      name: this.scope,
      outputs: options.outputs?.map((name) => (name ? this.graph.uniqueName(name) : '')) ?? [
        this.graph.uniqueName(this.path(operator.toLowerCase())),
      ],
    })
    inferNode(node)
    return node.outputs
  }

  /** A weight of the checkpoint in its own layout; the same weight asked for twice is one constant. */
  parameter(name: string, shape: readonly number[]): Value {
    const path = this.path(name)
    return this.graph.constants.get(path) ?? this.graph.addConstant(path, this.parameters.get(path, shape))
  }

  /** The weight of a linear as [in, out]. */
  matrix(name: string, inputs: number, outputs: number): Value {
    const path = this.path(name)
    return this.graph.constants.get(path) ?? this.graph.addConstant(path, this.parameters.matrix(path, inputs, outputs))
  }

  /** A constant of the graph that is no weight; equal ones of one name are shared. */
  constant(name: string, tensor: Tensor): Value {
    return this.graph.constants.get(name) ?? this.graph.addConstant(name, tensor)
  }

  /** A small int64 constant, shared by its elements: a list, or a scalar for a plain number. */
  ints(values: number | readonly number[]): Value {
    const list = typeof values === 'number' ? [values] : values
    const shape = typeof values === 'number' ? [] : [values.length]
    return this.constant(
      `int64_${shape.length ? 'list_' : ''}${list.join('_').replaceAll('-', 'minus')}`,
      ArrayTensor.of(ndarray('int64', shape, list)),
    )
  }

  /** A float32 scalar constant. */
  float(value: number): Value {
    return this.constant(`float_${String(value).replace(/\W/g, '_')}`, ArrayTensor.of(ndarray('float32', [], [value])))
  }

  /** A float32 constant from numbers. */
  floats(name: string, shape: readonly number[], values: ArrayLike<number>): Value {
    if (sizeOf(shape) !== values.length) throw new Error(`${name}: ${values.length} numbers for shape [${shape}]`)
    return this.constant(name, ArrayTensor.of(ndarray('float32', shape, values)))
  }

  input(name: string, dtype: DType, shape: readonly (number | string)[]): Value {
    return this.graph.addInput(name, dtype, shape)
  }

  /** Declares an output of the graph and gives it its public name. */
  output(name: string, value: Value): void {
    this.graph.outputs.push(value)
    this.graph.rename(value, name)
  }
}
