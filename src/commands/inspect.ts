import { anatomyOf, type Block } from '../anatomy/index.js'
import { TinsmithError } from '../base/errors.js'
import type { DescribedPlan } from '../engine/compiled/plan/describe.js'
import type { AttentionProducts, CacheDtype } from '../engine/compiled/plan/steps.js'
import type { Graph } from '../ir/graph.js'
import { printGraph } from '../ir/print.js'
import type { DType } from '../numbers/dtype.js'
import { importModel } from '../raise/import.js'
import { type CommandOptions, WarningKeeper } from './context.js'
import { parametersOf } from './parameters.js'
import { nameOf } from './source.js'

export interface InspectOptions extends CommandOptions {
  /** Add the text of each graph. */
  readonly graph?: boolean
  /** Add what the compiled engine makes of each graph, step by step. */
  readonly plan?: boolean
  /** What keys and values are kept as in that plan. Default `float32`. */
  readonly cache?: CacheDtype
  /** What attention without caches multiplies in that plan. Default `float32`. */
  readonly attention?: AttentionProducts
}

export interface InspectedLinear {
  readonly name: string
  readonly in: number
  readonly out: number
  /** What the weight is stored as. */
  readonly dtype: DType
}

export interface InspectedBlock {
  readonly name: string
  readonly norms: readonly string[]
  /** By role: `q`, `k`, `v` or `qkv`, `o`, `up`, `gate`, `down` ... */
  readonly linears: Readonly<Record<string, InspectedLinear>>
  readonly mixer: {
    readonly kind: string
    readonly heads: number | null
    readonly kvHeads: number | null
    readonly headSize: number | null
  }
}

export interface InspectedGraph {
  readonly blocks: readonly InspectedBlock[]
  readonly parameters: number
  /** Of the constants as they would be stored. */
  readonly bytes: number
  /** Nodes by operator, the most frequent first. */
  readonly operators: Readonly<Record<string, number>>
  /** In canonical form. */
  readonly text?: string
  /** What the compiled engine makes of it on this machine, or why it cannot run it. */
  readonly plan?: InspectedPlan | { readonly refused: string }
}

/** Steps of a plan, and what they run on. */
export interface InspectedPlan extends DescribedPlan {
  readonly backend: 'x64' | 'wasm'
  /** Why machine code does not run here, where it does not. */
  readonly without: string | null
}

export interface InspectResult {
  readonly type: string
  readonly graphs: Readonly<Record<string, InspectedGraph>>
  readonly warnings: readonly string[]
}

/**
 * What a model is made of: blocks and roles, shapes, dtypes, sizes.
 *
 * @throws TinsmithError `bad-input`, `unsupported`
 * @example
 * const { graphs } = await inspect('all-MiniLM-L6-v2')
 * graphs['model'].blocks[0].linears['q'].name // 'encoder.layer.0.attention.self.query'
 */
export async function inspect(source: string, options: InspectOptions = {}): Promise<InspectResult> {
  const progress = new WarningKeeper(options.progress)
  const stage = progress.stage(`reading ${nameOf(source)}`)
  try {
    const { model, warnings } = await importModel(source)
    for (const warning of warnings) progress.warn(warning)
    const graphs: Record<string, InspectedGraph> = {}
    for (const [name, graph] of model.graphs)
      graphs[name] = {
        ...inspectGraph(graph, options.graph ?? false),
        ...(options.plan ? { plan: await inspectPlan(graph, options) } : {}),
      }
    return { type: model.type, graphs, warnings: progress.warnings }
  } finally {
    stage.end()
  }
}

async function inspectPlan(graph: Graph, options: InspectOptions): Promise<InspectedGraph['plan']> {
  const [{ compiledBackend, kernelChoice }, { planOf }, { describePlan }] = [
    await import('#kernels'),
    await import('../engine/compiled/plan/index.js'),
    await import('../engine/compiled/plan/describe.js'),
  ]
  try {
    return { ...describePlan(await planOf(graph, (await compiledBackend()).fusions, options)), ...kernelChoice() }
  } catch (error) {
    if (error instanceof TinsmithError && error.code === 'unsupported') return { refused: error.sentence }
    throw error
  }
}

function inspectGraph(graph: Graph, withText: boolean): InspectedGraph {
  const counts = new Map<string, number>()
  for (const node of graph.allNodes()) counts.set(node.type, (counts.get(node.type) ?? 0) + 1)
  return {
    blocks: anatomyOf(graph).blocks.map(inspectBlock),
    parameters: parametersOf(graph),
    bytes: [...graph.constants.values()].reduce((sum, { tensor }) => sum + tensor!.byteLength, 0),
    operators: Object.fromEntries([...counts].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))),
    ...(withText ? { text: printGraph(graph) } : {}),
  }
}

function inspectBlock({ name, norms, linears, mixer }: Block): InspectedBlock {
  const { kind, heads, kvHeads } = mixer
  const width = linears.get('o')?.inputs ?? linears.get('q')?.outputs
  const headSize = heads && width ? width / heads : null
  return {
    name,
    norms: norms.map((norm) => norm.name),
    linears: Object.fromEntries(
      [...linears].map(([role, linear]) => [role, { name: linear.name, in: linear.inputs, out: linear.outputs, dtype: linear.dtype }]),
    ),
    mixer: { kind, heads, kvHeads, headSize },
  }
}
