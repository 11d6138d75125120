import { unsupported } from '../base/errors.js'
import { int } from '../ir/attribute.js'
import type { Value } from '../ir/node.js'
import { firstToken, lastToken, meanPool, normalizeRows } from './masks.js'
import type { Net } from './net.js'

/**
 * The sentence embedding [batch, size] that a sentence-transformers folder describes: modules.json names the modules in
 * order, each with a folder for its settings. Null when there is no modules.json.
 *
 * @throws TinsmithError `unsupported` for a module or a pooling that the graph cannot express, named
 */
export function sentenceEmbedding(net: Net, hidden: Value, attentionMask: Value, documents: ReadonlyMap<string, unknown>): Value | null {
  const modules = documents.get('modules.json')
  if (!Array.isArray(modules)) return null
  let vector: Value | null = null
  for (const { type = '', path = '' } of modules as { type?: string; path?: string }[]) {
    const kind = type.split('.').at(-1)
    if (kind === 'Transformer') continue
    if (kind === 'Pooling') vector = pool(net, hidden, attentionMask, documents.get(`${path}/config.json`))
    else if (kind === 'Normalize' && vector) vector = normalizeRows(net, vector)
    else if (kind !== 'Dropout') throw unsupported(`the sentence-transformers module "${kind}" is not supported`, { where: 'modules.json' })
  }
  return vector
}

function pool(net: Net, hidden: Value, attentionMask: Value, settings: unknown): Value {
  const modes = Object.entries((settings ?? {}) as Record<string, unknown>).filter(([name]) => name.startsWith('pooling_mode_'))
  const flags = modes.filter(([, value]) => value === true).map(([name]) => name.slice('pooling_mode_'.length))
  if (flags.length > 1) throw unsupported(`pooling by ${flags.join(' and ')} together is not supported`, { where: 'modules.json' })
  if (modes.length && !flags.length) throw unsupported('no mode of pooling is switched on', { where: 'modules.json' })
  switch (flags[0] ?? 'mean_tokens') {
    case 'mean_tokens':
      return meanPool(net, hidden, attentionMask)
    case 'cls_token':
      return firstToken(net, hidden)
    case 'lasttoken':
      return lastToken(net, hidden, net.op('Cast', [attentionMask], { to: int(9) }))
    default:
      throw unsupported(`pooling by ${flags[0]} is not supported`, {
        where: 'modules.json',
        hint: 'Known: mean_tokens, cls_token, lasttoken.',
      })
  }
}
