/** Vocabularies by merging pairs of neighbouring symbols inside words: byte-pair encoding and WordPiece. */

const pairBase = 2 ** 20
const symbolsOf = (key) => [Math.floor(key / pairBase), key % pairBase]

/**
 * How much a merge is worth, from the counts of the pair, of both symbols and of all symbols; never more than if the symbols
 * occurred in the pair alone.
 */
export const scores = {
  /** Sennrich et al. 2016, Algorithm 1. */
  count: (pair) => pair,
  /** The gain in log likelihood of a unigram model of the symbols: Schuster and Nakajima 2012, section 3. */
  likelihood: (pair, left, right, all) => pair * Math.log((pair * all) / (left * right)),
}

/** Words as lists of symbols, with counts of symbols and of neighbours, kept up to date while pairs are merged. */
class Corpus {
  constructor(words, split) {
    this.symbols = []
    this.ids = new Map()
    this.symbolCounts = []
    this.total = 0
    this.pairs = new Map()
    /** Pairs that occur at least `floor` times: those that can have the highest score. */
    this.frequent = new Set()
    this.floor = Number.POSITIVE_INFINITY
    this.words = [...words].map(([word, count]) => ({ count, symbols: split(word).map((text) => this.idOf(text)) }))
    this.words.forEach((word, at) => void this.count(word, at, 1))
  }

  idOf(text) {
    if (!this.ids.has(text)) {
      this.ids.set(text, this.symbols.length)
      this.symbols.push(text)
      this.symbolCounts.push(0)
    }
    return this.ids.get(text)
  }

  /** Adds (sign 1) or takes away (sign -1) what a word counts. */
  count({ count, symbols }, at, sign) {
    this.total += sign * count * symbols.length
    symbols.forEach((symbol, i) => {
      this.symbolCounts[symbol] += sign * count
      if (i + 1 === symbols.length) return
      const key = symbol * pairBase + symbols[i + 1]
      const pair = this.pairs.get(key) ?? { count: 0, words: new Set() }
      pair.count += sign * count
      if (sign > 0) pair.words.add(at)
      if (pair.count) this.pairs.set(key, pair)
      else this.pairs.delete(key)
      if (pair.count >= this.floor) this.frequent.add(key)
      else this.frequent.delete(key)
    })
  }

  /** The pair of the highest score, the first made of equals; null when none occurs `least` times. */
  best(score, least) {
    if (this.floor === Number.POSITIVE_INFINITY) this.lower(2 ** 16)
    for (;;) {
      let [bestKey, most] = [Number.POSITIVE_INFINITY, score(this.floor, this.floor, this.floor, this.total)]
      for (const key of this.frequent) {
        const [left, right] = symbolsOf(key)
        const worth = score(this.pairs.get(key).count, this.symbolCounts[left], this.symbolCounts[right], this.total)
        if (worth > most || (worth === most && key < bestKey)) [bestKey, most] = [key, worth]
      }
      if (bestKey < Number.POSITIVE_INFINITY) return symbolsOf(bestKey)
      if (this.floor <= least) return null
      this.lower(Math.max(least, this.floor / 2))
    }
  }

  lower(floor) {
    this.floor = floor
    for (const [key, { count }] of this.pairs) if (count >= floor) this.frequent.add(key)
  }

  merge(left, right, text) {
    const merged = this.idOf(text)
    for (const at of this.pairs.get(left * pairBase + right).words) {
      const word = this.words[at]
      this.count(word, at, -1)
      const symbols = []
      for (let i = 0; i < word.symbols.length; i++) {
        const whole = word.symbols[i] === left && word.symbols[i + 1] === right
        symbols.push(whole ? merged : word.symbols[i])
        if (whole) i++
      }
      word.symbols = symbols
      this.count(word, at, 1)
    }
  }
}

/**
 * Merges pairs until there are `size` symbols, `mergeCount` merges are made, or no pair occurs `least` times.
 *
 * @param words counts by word
 * @param split a word's first symbols
 * @param join the symbol that two become
 * @returns symbols in the order of their making, and the merges
 */
export function learnMerges(words, { size = Number.POSITIVE_INFINITY, mergeCount = size, split, join, score, least = 2 }) {
  const corpus = new Corpus(words, split)
  const merges = []
  while (corpus.symbols.length < size && merges.length < mergeCount) {
    const pair = corpus.best(score, least)
    if (!pair) break
    const [left, right] = pair.map((id) => corpus.symbols[id])
    merges.push([left, right])
    corpus.merge(...pair, join(left, right))
  }
  return { symbols: corpus.symbols, merges }
}

/** How often each text occurs. */
export function countsOf(texts) {
  const counts = new Map()
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1)
  return counts
}
