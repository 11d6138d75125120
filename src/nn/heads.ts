import { int } from '../ir/attribute.js'
import type { Value } from '../ir/node.js'
import { linear, tiedHead } from './layers.js'
import { lastToken } from './masks.js'
import type { Net } from './net.js'

/** Outputs `start_logits` and `end_logits` [batch, tokens]: where the answer to a question begins and ends (module `qa_outputs`). */
export function questionAnsweringHead(net: Net, hidden: Value, size: number): void {
  const head = net.at('qa_outputs')
  const logits = linear(head, hidden, size, 2, true)
  const parts = head.ops('Split', [logits], { attributes: { axis: int(-1), num_outputs: int(2) }, outputs: ['start', 'end'] })
  parts.forEach((part, i) => void net.output(['start_logits', 'end_logits'][i], head.op('Squeeze', [part, net.ints([-1])])))
}

/** Output `logits` [batch, tokens, vocabulary], from the embedding's table where that is shared, else from `lm_head`. */
export function languageModelHead(net: Net, hidden: Value, table: Value | null, size: number, vocabulary: number): void {
  const head = net.at('lm_head')
  net.output('logits', table ? tiedHead(head, hidden, table) : linear(head, hidden, size, vocabulary, false))
}

/** The tokens by which a decoder's head finds the last one. */
export interface Tokens {
  readonly ids: Value
  readonly attentionMask: Value
  /** The id of padding; null: the attention mask tells. */
  readonly padId: number | null
}

/** Output `logits` [batch, labels]: the scores of a decoder's last token that is no padding (module `score`). */
export function lastTokenHead(net: Net, hidden: Value, { ids, attentionMask, padId }: Tokens, size: number, labels: number): void {
  const head = net.at('score')
  const kept =
    padId === null ? head.op('Cast', [attentionMask], { to: int(9) }) : head.op('Not', [head.op('Equal', [ids, net.ints(padId)])])
  net.output('logits', linear(head, lastToken(head, hidden, kept), size, labels, false))
}
