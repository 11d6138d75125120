import { unsupported } from '../../../base/errors.js'
import type { Graph } from '../../../ir/graph.js'
import type { Node, Value } from '../../../ir/node.js'
import type { Tensor } from '../../../ir/tensor.js'
import { type MaskKind, maskKind } from './mask.js'
import type { Meaning } from './meaning.js'
import type { CacheLayer } from './plan.js'
import {
  type AttentionProducts,
  type Buffer,
  type CacheDtype,
  type RowKind,
  type Step,
  type StepKind,
  type StepOf,
  type View,
  viewsRead,
  viewsWritten,
  whole,
} from './steps.js'

/** Distributes Omit over the kinds of steps. */
type Unnamed<S> = S extends Step ? Omit<S, 'name'> : never

/** Turns nodes into steps, one after the other; rules use it to say what values mean. */
export class Translator {
  readonly steps: Step[] = []
  readonly caches: CacheLayer[] = []
  readonly images = new Map<string, number>()
  /** Tokens of each sequence, where the graph fixes it. */
  tokens: number | undefined
  readonly #meanings = new Map<Value, Meaning>()
  readonly #masks = new Map<Value, Promise<MaskKind | undefined>>()

  constructor(
    readonly graph: Graph,
    readonly cacheDtype: CacheDtype,
    readonly attentionProducts: AttentionProducts,
  ) {}

  meaning(value: Value | null | undefined): Meaning | undefined {
    return value ? this.#meanings.get(value) : undefined
  }

  mean(value: Value, meaning: Meaning): true {
    this.#meanings.set(value, meaning)
    return true
  }

  /** What kind of mask a value is, computed once for all layers. */
  maskKind(mask: Value): Promise<MaskKind | undefined> {
    const kind = this.#masks.get(mask) ?? maskKind(mask, this.graph)
    this.#masks.set(mask, kind)
    return kind
  }

  /** The tensor of a constant, perhaps one that is computed from others. */
  tensor(value: Value | null | undefined): Tensor | undefined {
    const meaning = this.meaning(value)
    return value?.tensor ?? (meaning?.kind === 'constant' ? meaning.tensor : undefined)
  }

  /** Whether nothing is known of a value but that it holds no rows. */
  isHost(value: Value | null): boolean {
    return !value || value.isConstant || ['host', 'ones'].includes(this.meaning(value)?.kind ?? '')
  }

  /** The rows of a value, after steps that were put off have been added. */
  rows(value: Value | null | undefined): Extract<Meaning, { kind: 'rows' }> | undefined {
    const meaning = this.meaning(value)
    if (meaning?.kind !== 'lookups') return meaning?.kind === 'rows' ? meaning : undefined
    const rows = { kind: 'rows', view: this.#sumOf(meaning, value!), inner: [meaning.columns] } as const
    this.mean(value!, rows)
    return rows
  }

  #sumOf({ lookups, columns, plus }: Extract<Meaning, { kind: 'lookups' }>, value: Value): View {
    const looked = this.add(value.name, { kind: 'embed', lookups, output: this.buffer(value, columns) })
    if (!plus) return looked
    return this.add(value.name, { kind: 'combine', operator: 'add', left: plus, right: looked, output: this.buffer(value, columns) })
  }

  /** A buffer for a value of the graph. */
  buffer({ name }: Value, columns: number, { per = 'token', dtype = 'float32' }: Partial<Pick<Buffer, 'per' | 'dtype'>> = {}): View {
    return whole({ name, per, columns, dtype })
  }

  add(name: string, step: Unnamed<Step>): View {
    this.steps.push({ name, ...step } as Step)
    return step.output
  }

  /** Adds a step whose output is rows like those of its input. */
  addRows(value: Value, per: RowKind, inner: readonly number[], step: (output: View) => Unnamed<Step>): true {
    const columns = inner.reduce((a, b) => a * b, 1)
    const view = this.add(value.name, step(this.buffer(value, columns, { per })))
    return this.mean(value, { kind: 'rows', view, inner })
  }

  /** The step of a kind that wrote a value, where nothing else reads the value: it may be changed to compute what follows too. */
  onlySource<K extends StepKind>(value: Value, kind: K): { readonly step: StepOf<K>; replace(by: StepOf<K>): void } | undefined {
    const meaning = this.meaning(value)
    if (meaning?.kind !== 'rows' || value.uses.size !== 1 || this.graph.outputs.includes(value)) return undefined
    const { steps } = this
    const index = steps.findLastIndex((step) => step.output.buffer === meaning.view.buffer)
    const step = steps[index]
    if (step?.kind !== kind || step.output.columns !== meaning.view.columns) return undefined
    return { step: step as StepOf<K>, replace: (by) => void steps.splice(index, 1, by as Step) }
  }

  /** Whether a view is written before a step begins. */
  isWrittenBefore(view: View, step: Step): boolean {
    const end = this.steps.indexOf(step)
    return this.steps.findLastIndex((one) => viewsWritten(one).some(({ buffer }) => buffer === view.buffer)) < end
  }

  /** Takes away steps whose results nobody reads. */
  prune(outputs: readonly View[]): void {
    const needed = new Set(outputs.map(({ buffer }) => buffer))
    for (let i = this.steps.length - 1; i >= 0; i--) {
      const step = this.steps[i]
      if (viewsWritten(step).some(({ buffer }) => needed.has(buffer)) || (step.kind === 'attention' && step.cache !== undefined))
        for (const { buffer } of viewsRead(step)) needed.add(buffer)
      else this.steps.splice(i, 1)
    }
  }
}

/** A rule says what a node means; false where it does not know. */
export type TranslationRule = (node: Node, translator: Translator) => boolean | Promise<boolean>

/** Rules by the type of the node. */
export type TranslationRules = Readonly<Record<string, TranslationRule>>

/** The error that names all nodes which no rule translates. */
export function missingOperators(nodes: readonly Node[]): Error {
  const counts = new Map<string, string>()
  for (const node of nodes) if (!counts.has(node.type)) counts.set(node.type, node.output.name)
  const names = [...counts].map(([type, name]) => `${type} (${name})`).join(', ')
  return unsupported(`The compiled engine has no kernels for ${names}`, { hint: 'The engine ort runs it.' })
}
