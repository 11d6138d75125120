import type { Random } from '../../base/random.js'
import { ignoredLabel } from '../../nn/losses.js'
import type { Encoded, Tokenizer } from '../../pipelines/index.js'

/** What is masked together: single tokens, all tokens of a word, or neighbouring words. */
export type MaskingUnit = 'token' | 'word' | 'span'

export interface Masking {
  readonly unit: MaskingUnit
  /** Share of a text's tokens that the model has to tell; one at least. */
  readonly rate: number
  readonly maskId: number
  /** Ids that stand in for a token at random. */
  readonly replacements: readonly number[]
  /** Whether a token begins a word; others continue the one before. */
  readonly beginsWord: (id: number) => boolean
}

/** A text with masks in it, and what they hide. */
export interface MaskedTokens {
  readonly ids: readonly number[]
  /** The hidden ids; {@link ignoredLabel} elsewhere. */
  readonly labels: readonly number[]
}

/** What becomes of a token that the model has to tell: [MASK] in 80 %, another token in 10 %, itself in 10 %. */
const fates = { mask: 0.8, replace: 0.1 } as const

/**
 * Hides tokens of a text: 80 % of the chosen ones become the mask token, 10 % a random one, 10 % stay; special tokens are never
 * chosen. In spans this is decided once a span.
 *
 * Source: Devlin et al. 2019, section 3.1; whole words as in the authors' code of 2019; spans as in Joshi et al. 2020
 * (SpanBERT), section 3.1, without the last span being cut inside a word.
 */
export function maskTokens({ ids, special }: Encoded, masking: Masking, random: Random): MaskedTokens {
  const words = wordsOf(ids, special, masking)
  const count = words.reduce((sum, word) => sum + word.length, 0)
  const budget = Math.max(1, Math.round(masking.rate * count))
  const groups = masking.unit === 'span' ? chooseSpans(words, budget, random) : chooseWords(words, budget, random)
  const masked = [...ids]
  const labels = ids.map(() => ignoredLabel)
  for (const group of groups) {
    const units = masking.unit === 'span' ? [group] : group.map((position) => [position])
    for (const unit of units) {
      const hide = fate(masking, random)
      for (const position of unit) {
        labels[position] = ids[position]
        masked[position] = hide(ids[position])
      }
    }
  }
  return { ids: masked, labels }
}

function fate({ maskId, replacements }: Masking, random: Random): (id: number) => number {
  const draw = random.uniform()
  if (draw < fates.mask) return () => maskId
  if (draw < fates.mask + fates.replace) return () => replacements[random.integer(replacements.length)]
  return (id) => id
}

/** The positions of each word's tokens; with unit `token` each token is a word. */
function wordsOf(ids: readonly number[], special: readonly number[], { unit, beginsWord }: Masking): number[][] {
  const words: number[][] = []
  ids.forEach((id, position) => {
    if (special[position]) return
    const open = words.at(-1)
    if (unit === 'token' || open?.at(-1) !== position - 1 || beginsWord(id)) words.push([position])
    else open.push(position)
  })
  return words
}

/** Words at random until the budget is spent; those that would exceed it are passed over, but for the first. */
function chooseWords(words: readonly number[][], budget: number, random: Random): number[][] {
  const chosen: number[][] = []
  let left = budget
  for (const index of random.permutation(words.length)) {
    if (!left) break
    if (words[index].length > left && chosen.length) continue
    chosen.push(words[index])
    left = Math.max(0, left - words[index].length)
  }
  return chosen
}

/** Runs of words, from a random word each, that neither overlap nor reach over special tokens. */
function chooseSpans(words: readonly number[][], budget: number, random: Random): number[][] {
  const taken = new Set<number>()
  const spans: number[][] = []
  let left = budget
  while (left > 0 && taken.size < words.length) {
    const end = spanLength(random)
    const span: number[] = []
    for (let word = random.integer(words.length), i = 0; i < end && word < words.length && !taken.has(word); i++, word++) {
      const adjacent = !span.length || words[word][0] === span.at(-1)! + 1
      if (!adjacent) break
      const fits = words[word].length <= left || !taken.size
      if (!fits) return span.length ? [...spans, span] : spans
      taken.add(word)
      span.push(...words[word])
      left -= words[word].length
      if (left <= 0) break
    }
    if (span.length) spans.push(span)
  }
  return spans
}

/** How spans' lengths are distributed: geometric, and the longest, in words. */
const spans = { probability: 0.2, longest: 10 } as const

/** A length from the geometric distribution, given that it is at most the longest: 3.8 on average. */
export function spanLength(random: Random): number {
  const { probability, longest } = spans
  const within = 1 - (1 - probability) ** longest
  const length = Math.ceil(Math.log(1 - random.uniform() * within) / Math.log(1 - probability))
  return Math.min(longest, Math.max(1, length))
}

/**
 * Whether a token begins a word, by the marks of the vocabulary: `##` in front of what continues one (WordPiece), or `Ġ` or `▁`
 * in front of what follows a space (byte-level BPE, SentencePiece); without marks every token is a word.
 */
export function beginsWord(tokenizer: Tokenizer): (id: number) => boolean {
  const tokens = vocabulary(tokenizer).map((id) => tokenizer.tokenOf(id)!)
  const has = (mark: string) => tokens.some((token) => token.length > mark.length && token.startsWith(mark))
  if (has('##')) return (id) => !tokenizer.tokenOf(id)?.startsWith('##')
  const mark = ['Ġ', '▁'].find(has)
  return mark === undefined ? () => true : (id) => tokenizer.tokenOf(id)?.startsWith(mark) ?? true
}

/** The ids of a vocabulary that are no special tokens. */
export function vocabulary(tokenizer: Tokenizer): number[] {
  const ids = Array.from({ length: tokenizer.vocabularySize }, (_, id) => id)
  return ids.filter((id) => tokenizer.tokenOf(id) !== undefined && !tokenizer.specialIds.has(id))
}
