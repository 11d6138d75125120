import type { Graph } from '../ir/graph.js'
import type { Node, Value } from '../ir/node.js'
import { findLinears, type Linear } from './linear.js'
import { findMixers, type Mixer } from './mixer.js'
import { isActivation, isNorm, isResidual, reached, rootConstant, throughCarriers } from './walk.js'

export type { Linear } from './linear.js'
export { findLinears, linearAt } from './linear.js'
export type { Mixer } from './mixer.js'
export * from './walk.js'

/** What a linear is for in its block. */
export type Role = 'q' | 'k' | 'v' | 'qkv' | 'o' | 'up' | 'gate' | 'gate_up' | 'down'

export interface Norm {
  readonly name: string
  readonly node: Node
}

/** A table looked up by integer ids. */
export interface Embedding {
  readonly name: string
  readonly node: Node
  readonly table: Value
  readonly rows: number
  readonly width: number
}

export interface Block {
  readonly name: string
  readonly mixer: Mixer
  readonly linears: ReadonlyMap<Role, Linear>
  readonly norms: readonly Norm[]
}

/** What a graph means. */
export interface Anatomy {
  readonly blocks: readonly Block[]
  readonly embeddings: readonly Embedding[]
  /** Linears outside the blocks: head, pooler, classifier. */
  readonly others: readonly Linear[]
  /** All linears in the graph's order. */
  readonly linears: readonly Linear[]
  readonly norms: readonly Norm[]
}

/**
 * Finds blocks and roles by walking a canonical graph from its mixers; names of nodes mean nothing to it.
 *
 * @example
 * anatomyOf(graph).blocks[0].linears.get('q')?.name // 'encoder.layer.0.attention.self.query'
 */
export function anatomyOf(graph: Graph): Anatomy {
  const linears = findLinears(graph)
  const byOutput = new Map(linears.map((linear) => [linear.output, linear]))
  const byProduct = new Map(linears.map((linear) => [linear.product, linear]))
  const parts = findMixers(graph).flatMap((mixer) => {
    const roles = rolesAround(mixer, byOutput, byProduct)
    return roles.size ? [{ mixer, roles }] : []
  })
  const norms = [...graph.nodes()]
    .filter(isNorm)
    .map((node) => ({ name: (rootConstant(node.input(1))?.name ?? node.name).replace(/\.weight$/, ''), node }))
  const normsOf = assignNorms(
    norms,
    parts.map((part) => part.roles),
    byOutput,
    byProduct,
  )
  const blocks = parts.map(({ mixer, roles }, i) => ({ name: blockName([...roles.values()], i), mixer, linears: roles, norms: normsOf[i] }))
  const inside = new Set(blocks.flatMap((block) => [...block.linears.values()]))
  return { blocks, embeddings: findEmbeddings(graph), others: linears.filter((linear) => !inside.has(linear)), linears, norms }
}

function rolesAround(mixer: Mixer, byOutput: ReadonlyMap<Value, Linear>, byProduct: ReadonlyMap<Node, Linear>): Map<Role, Linear> {
  const roles = new Map<Role, Linear>()
  const [q, k, v] = [mixer.query, mixer.key, mixer.value].map((value) => byOutput.get(throughCarriers(value, (at) => byOutput.has(at))))
  if (q && q === k && q === v) roles.set('qkv', q)
  else
    for (const [role, linear] of [
      ['q', q],
      ['k', k],
      ['v', v],
    ] as const)
      if (linear) roles.set(role, linear)
  const o = reached(mixer.context).flatMap((node) => byProduct.get(node) ?? [])[0]
  if (!o) return roles
  roles.set('o', o)
  const down = downAfter(o, byProduct)
  if (down) for (const [role, linear] of feedForward(down, byOutput)) roles.set(role, linear)
  return roles
}

/** The linear that ends the feed-forward after an attention's output linear: the next whose output is added to the residual stream. */
function downAfter(o: Linear, byProduct: ReadonlyMap<Node, Linear>): Linear | null {
  const seen = new Set<Node>()
  const pending = reached(o.output)
  for (let node = pending.shift(); node; node = pending.shift()) {
    if (seen.has(node)) continue
    seen.add(node)
    const linear = byProduct.get(node)
    if (linear && reached(linear.output).some(isResidual)) return linear
    if (linear || isResidual(node) || isActivation(node) || node.type === 'Mul' || isNorm(node))
      pending.push(...reached(linear?.output ?? node.output))
  }
  return null
}

/** The linears that feed `down`: one before an activation, or two whose product it takes. */
function feedForward(down: Linear, byOutput: ReadonlyMap<Value, Linear>): Map<Role, Linear> {
  const roles = new Map<Role, Linear>()
  const behind = (value: Value, active: boolean): { linear: Linear; active: boolean }[] => {
    const at = throughCarriers(value, (candidate) => byOutput.has(candidate))
    const linear = byOutput.get(at)
    if (linear) return [{ linear, active }]
    const node = at.producer
    if (!node) return []
    if (isActivation(node)) return behind(node.input(0)!, true)
    return node.type === 'Mul' ? node.inputs.flatMap((input) => behind(input!, active)) : []
  }
  const found = behind(down.input, false)
  const gate = found.length > 1 ? found.find((branch) => branch.active)?.linear : undefined
  const up = found.find((branch) => branch.linear !== gate)?.linear
  if (gate && !up) roles.set('gate_up', gate)
  else if (up) {
    roles.set('up', up)
    if (gate) roles.set('gate', gate)
  }
  if (roles.size) roles.set('down', down)
  return roles
}

/**
 * A norm on the residual stream (its output is added again) belongs to the block before it, a norm in front of linears
 * to the block of those linears.
 */
function assignNorms(
  norms: readonly Norm[],
  blocks: readonly ReadonlyMap<Role, Linear>[],
  byOutput: ReadonlyMap<Value, Linear>,
  byProduct: ReadonlyMap<Node, Linear>,
): Norm[][] {
  const blockOf = new Map(blocks.flatMap((roles, i) => [...roles.values()].map((linear) => [linear, i] as const)))
  const onStream = norms.some((norm) => norm.node.output.users.some(isResidual))
  const result: Norm[][] = blocks.map(() => [])
  for (const norm of norms) {
    const before = producersOf(norm.node.input(0)!, byOutput).flatMap((linear) => blockOf.get(linear) ?? [])
    const after = reached(norm.node.output).flatMap((node) => blockOf.get(byProduct.get(node)!) ?? [])
    const block = onStream ? before.at(-1) : (after[0] ?? inHead(norm, blocks))
    if (block !== undefined) result[block].push(norm)
  }
  return result
}

/** The block whose query or key a norm over heads belongs to. */
function inHead(norm: Norm, blocks: readonly ReadonlyMap<Role, Linear>[]): number | undefined {
  const at = throughCarriers(norm.node.input(0)!, (value) =>
    blocks.some((roles) => [...roles.values()].some((linear) => linear.output === value)),
  )
  const index = blocks.findIndex((roles) => [roles.get('q'), roles.get('k')].some((linear) => linear?.output === at))
  return index < 0 ? undefined : index
}

/** The linears that are added up in a value. */
function producersOf(value: Value, byOutput: ReadonlyMap<Value, Linear>): Linear[] {
  const linear = byOutput.get(value)
  if (linear) return [linear]
  return value.producer?.type === 'Add' ? value.producer.inputs.flatMap((input) => byOutput.get(input!) ?? []) : []
}

/** The dotted prefix that all linears of a block share; a number where the names tell nothing. */
function blockName(linears: readonly Linear[], index: number): string {
  const paths = linears.map((linear) => linear.name.split('.'))
  const shared: string[] = []
  while (paths.every((path) => path.length > shared.length + 1 && path[shared.length] === paths[0][shared.length]))
    shared.push(paths[0][shared.length])
  return shared.length ? shared.join('.') : `block.${index}`
}

function findEmbeddings(graph: Graph): Embedding[] {
  return [...graph.nodes()].flatMap((node) => {
    const table = node.type === 'Gather' && !node.int('axis', 0) ? rootConstant(node.input(0)) : null
    if (table?.shape?.length !== 2 || rootConstant(node.input(1))) return []
    const [rows, width] = table.shape as number[]
    return [{ name: table.name.replace(/\.weight$/, ''), node, table, rows, width }]
  })
}
