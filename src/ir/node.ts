import { badInput } from '../base/errors.js'
import type { DType } from '../numbers/dtype.js'
import { type Attribute, type Attributes, graphsOf, noGraphs } from './attribute.js'
import type { Dim } from './dimension.js'
import type { Graph } from './graph.js'
import type { Tensor } from './tensor.js'

/** One place where a value is used: an input of a node. */
export interface Use {
  readonly node: Node
  readonly index: number
}

/** An edge of the graph: made by one node, by the graph's caller (input) or by nobody (constant). */
export class Value {
  /** @internal change it through {@link Graph.rename} */
  _name: string
  dtype: DType | null
  shape: readonly Dim[] | null
  /** The tensor, when this is a constant. */
  tensor: Tensor | null = null
  /** @internal */ _producer: Node | null = null
  /** @internal */ readonly _uses = new Set<Use>()

  constructor(name: string, dtype: DType | null = null, shape: readonly Dim[] | null = null) {
    this._name = name
    this.dtype = dtype
    this.shape = shape
  }

  get name(): string {
    return this._name
  }

  get producer(): Node | null {
    return this._producer
  }

  get uses(): ReadonlySet<Use> {
    return this._uses
  }

  /** The nodes that use this value, each once. */
  get users(): Node[] {
    return [...new Set([...this._uses].map((use) => use.node))]
  }

  get isConstant(): boolean {
    return this.tensor !== null
  }
}

type AttributeValue<K extends Attribute['kind']> = Extract<Attribute, { kind: K }>['value']

/** A call of an operator. Inputs may be null where the operator lets them be absent. */
export class Node {
  readonly operator: string
  /** Empty for the standard's operators. */
  readonly domain: string
  name: string
  readonly overload: string
  /** What a person or a pass noted about this node; saved as metadata. */
  readonly notes = new Map<string, string>()
  readonly #inputs: (Value | null)[] = []
  readonly #uses: (Use | null)[] = []
  #attributes: Record<string, Attribute>
  readonly outputs: readonly Value[]
  /** @internal */ _graph: Graph | null = null
  /** @internal */ _previous: Node | null = null
  /** @internal */ _next: Node | null = null

  /** @internal made by {@link Graph.add} */
  constructor(
    operator: string,
    inputs: readonly (Value | null)[],
    outputs: readonly Value[],
    details: { domain?: string; name?: string; overload?: string; attributes?: Attributes },
  ) {
    this.operator = operator
    this.domain = details.domain ?? ''
    this.name = details.name ?? ''
    this.overload = details.overload ?? ''
    this.#attributes = { ...details.attributes }
    this.outputs = outputs
    for (const output of outputs) output._producer = this
    inputs.forEach((input, i) => void this.setInput(i, input))
  }

  /** The operator with its domain, as in `com.microsoft.MatMulNBits`; standard operators without. */
  get type(): string {
    return this.domain ? `${this.domain}.${this.operator}` : this.operator
  }

  get inputs(): readonly (Value | null)[] {
    return this.#inputs
  }

  get output(): Value {
    return this.outputs[0]
  }

  get graph(): Graph | null {
    return this._graph
  }

  get attributes(): Attributes {
    return this.#attributes
  }

  /** The node after this one in the graph's order. */
  get next(): Node | null {
    return this._next
  }

  get previous(): Node | null {
    return this._previous
  }

  /** The input at an index, null when absent. */
  input(index: number): Value | null {
    return this.#inputs[index] ?? null
  }

  setInput(index: number, value: Value | null): void {
    while (this.#inputs.length < index) {
      this.#inputs.push(null)
      this.#uses.push(null)
    }
    const old = this.#uses[index]
    if (old) this.#inputs[index]!._uses.delete(old)
    this.#inputs[index] = value
    if (value) {
      const use = { node: this, index }
      value._uses.add(use)
      this.#uses[index] = use
    } else this.#uses[index] = null
  }

  setAttribute(name: string, attribute: Attribute | null): void {
    if (attribute) this.#attributes[name] = attribute
    else delete this.#attributes[name]
  }

  /** Graphs held by attributes (branches of If, bodies of Loop and Scan). */
  get subgraphs(): readonly Graph[] {
    let graphs = noGraphs
    for (const name in this.#attributes) {
      const found = graphsOf(this.#attributes[name])
      if (found.length) graphs = [...graphs, ...found]
    }
    return graphs
  }

  int(name: string): number | undefined
  int(name: string, fallback: number): number
  int(name: string, fallback?: number): number | undefined {
    const value = this.#get(name, 'int')
    return value === undefined ? fallback : Number(value)
  }

  float(name: string): number | undefined
  float(name: string, fallback: number): number
  float(name: string, fallback?: number): number | undefined {
    return this.#get(name, 'float') ?? fallback
  }

  string(name: string): string | undefined
  string(name: string, fallback: string): string
  string(name: string, fallback?: string): string | undefined {
    return this.#get(name, 'string') ?? fallback
  }

  ints(name: string): number[] | undefined {
    return this.#get(name, 'ints')?.map(Number)
  }

  floats(name: string): readonly number[] | undefined {
    return this.#get(name, 'floats')
  }

  strings(name: string): readonly string[] | undefined {
    return this.#get(name, 'strings')
  }

  tensor(name: string): Tensor | undefined {
    return this.#get(name, 'tensor')
  }

  #get<K extends Attribute['kind']>(name: string, kind: K): AttributeValue<K> | undefined
  #get(name: string, kind: Attribute['kind']): Attribute['value'] | undefined {
    const attribute = this.#attributes[name]
    if (!attribute) return undefined
    if (attribute.kind !== kind)
      throw badInput(`attribute ${name} of ${this.type} is of kind ${attribute.kind} and must be ${kind}`, {
        where: this.name || this.output?.name,
      })
    return attribute.value
  }

  /** @internal */
  _detach(): void {
    for (let i = 0; i < this.#inputs.length; i++) this.setInput(i, null)
    for (const subgraph of this.subgraphs) subgraph._detachAll()
  }
}
