import { badInput, unsupported } from '../base/errors.js'
import type { Graph } from '../ir/graph.js'
import type { DType } from '../numbers/dtype.js'
import type { NodeProto, OperatorSetProto } from './schema.js'

const oldest = 7
const newest = 28
/** What is declared for standard operators in a graph that had none. */
const usual = 21

/** Operators of opset 1 that no opset up to 7 changed. Source: the standard's Changelog.md. */
const unchanged: ReadonlySet<string> = new Set(
  (
    'ArgMax ArgMin Constant Conv ConvTranspose DepthToSpace Flatten Gather GlobalAveragePool GlobalMaxPool Hardmax Identity If LRN LogSoftmax ' +
    'Loop LpNormalization MatMul MaxPool MaxRoiPool Not RandomNormal RandomNormalLike RandomUniform RandomUniformLike ReduceL1 ReduceL2 ' +
    'ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Shape Size Slice Softmax Softplus ' +
    'Softsign SpaceToDepth Squeeze TopK Transpose Unsqueeze'
  ).split(' '),
)

/** The standard's operators have two names for their domain. */
export function domainOf(domain: string | undefined): string {
  return domain === undefined || domain === 'ai.onnx' ? '' : domain
}

/**
 * Versions by domain. Opsets below 7 count as 7 where it changed none of the operators at hand.
 *
 * @throws TinsmithError `unsupported` for opsets that cannot be read
 */
export function readOpsets(entries: readonly OperatorSetProto[], nodes: readonly NodeProto[], where: string): Map<string, number> {
  const opsets = new Map<string, number>()
  for (const entry of entries) {
    const domain = domainOf(entry.domain)
    const declared = Number(entry.version ?? 0)
    const version = !domain && declared >= 1 && declared < oldest && onlyUnchanged(nodes) ? oldest : declared
    if (opsets.has(domain) && opsets.get(domain) !== version)
      throw badInput(`the operators of domain "${domain}" are imported in two versions`, { where })
    if (!domain && !(version >= oldest && version <= newest))
      throw unsupported(`opset ${version} is not one of ${oldest} to ${newest}`, { where })
    opsets.set(domain, version)
  }
  return opsets
}

function onlyUnchanged(nodes: readonly NodeProto[]): boolean {
  return nodes.every((node) => {
    const graphs = node.attribute.flatMap((attribute) => (attribute.g ? [attribute.g, ...attribute.graphs] : attribute.graphs))
    return (domainOf(node.domain) || unchanged.has(node.operator ?? '')) && graphs.every((graph) => onlyUnchanged(graph.node))
  })
}

/** The imports of a graph: what it says, and a version for other domains that its nodes are from. */
export function writeOpsets(graph: Graph, domains: Iterable<string>, version?: number): OperatorSetProto[] {
  const opsets = new Map(graph.opsets)
  for (const domain of domains) if (!opsets.has(domain)) opsets.set(domain, domain ? 1 : usual)
  if (version !== undefined) opsets.set('', version)
  return [...opsets].sort(([a], [b]) => (a < b ? -1 : 1)).map(([domain, number]) => ({ domain, version: number }))
}

/**
 * The lowest IR version, 10 at least, for dtypes and imports.
 *
 * Source: the table of versions in the standard's Versioning.md, and the comments of onnx.proto
 */
export function irVersionFor(dtypes: ReadonlySet<DType>, opsets: readonly OperatorSetProto[]): number {
  const since: Partial<Record<DType, number>> = { float4e2m1: 11, float8e8m0: 12, int2: 13, uint2: 13 }
  const forOpset = (version: number) => (version >= 28 ? 14 : version >= 25 ? 13 : version >= 24 ? 12 : version >= 23 ? 11 : 10)
  const standard = opsets.filter(({ domain }) => domain === '').map(({ version }) => forOpset(Number(version)))
  return Math.max(10, ...standard, ...[...dtypes].map((dtype) => since[dtype] ?? 0))
}
