import { unsupported } from '../../base/errors.js'
import { int } from '../../ir/attribute.js'
import type { Adapter } from './adapter.js'
import { attentionSites, forBatch, prependToCache, settle, WiderMasks } from './attention-keys.js'
import { netAt } from './places.js'

export interface PrefixTuningOptions {
  /** Keys and values in front of each attention's own. */
  readonly length?: number
}

/**
 * Prefix tuning: learned keys and values in front of those of the tokens, in every block. They take no positions, and a cache
 * is given back without them. Attentions are spelled out. Keys and values are the parameters themselves, without a network that makes them.
 *
 * Source: Li and Liang 2021, Prefix-Tuning, section 4.2 (P directly, without the reparametrization of section 4.3).
 *
 * @example
 * const names = prefixTuning({ length: 10 }).insert(graph, new Random(1))
 */
export function prefixTuning({ length = 10 }: PrefixTuningOptions = {}): Adapter {
  return {
    name: 'prefix-tuning',
    summary: 'learned keys and values in front of those of every attention; stays in the graph',
    source: 'Li and Liang 2021, section 4.2',
    insert(graph, random) {
      const masks = new WiderMasks(netAt(graph, 'prefix'), length, false)
      const sites = attentionSites(graph)
      const names = sites.flatMap((site) => {
        const { name, node, sizes } = site
        const net = netAt(graph, name)
        const rows = (['prefix_key', 'prefix_value'] as const).map((part, i) =>
          net.floats(`${name}.${part}`, [length, sizes[i]], random.stream(`${name}.${part}`).normals(length * sizes[i], 0.02)),
        )
        const parts = rows.map((each) => forBatch(net, each, node.input(1)!))
        if (node.input(4)) prependToCache(graph, net, site, parts, length)
        else parts.forEach((part, i) => void node.setInput(1 + i, net.op('Concat', [part, node.input(1 + i)], { axis: int(1) })))
        masks.widen(node)
        return rows.map((each) => each.name)
      })
      settle(graph, sites)
      return names
    },
    merge() {
      throw unsupported('prefixes are further keys and values and cannot be merged into weights', { hint: 'Write the graph as it is.' })
    },
  }
}
