/** Interpolated n-gram model with modified Kneser-Ney smoothing over token ids: what a language model must beat. */

/** Grams of one order by number: the number of its first tokens' gram, times the vocabulary, plus its last token. */
class Order {
  constructor() {
    this.numbers = new Map()
    /** By number: how often it occurs (highest order), or after how many different tokens (others). */
    this.counts = []
    this.contexts = []
    this.tokens = []
  }

  find(context, token, vocabulary) {
    return this.numbers.get(context * vocabulary + token)
  }

  /** The gram's number, and whether it is new. */
  add(context, token, vocabulary) {
    const key = context * vocabulary + token
    const known = this.numbers.get(key)
    if (known !== undefined) return [known, false]
    const number = this.counts.length
    this.numbers.set(key, number)
    this.counts.push(0)
    this.contexts.push(context)
    this.tokens.push(token)
    return [number, true]
  }
}

/**
 * Source: Chen and Goodman 1998, An Empirical Study of Smoothing Techniques for Language Modeling, sections 3 and 5 (eq. 26).
 */
export class NGrams {
  constructor(ids, { vocabulary, order = 5 }) {
    this.vocabulary = vocabulary
    this.orders = Array.from({ length: order }, () => new Order())
    this.#count(ids)
    this.discounts = this.orders.map(({ counts }) => discountsOf(counts))
    this.sums = this.orders.map((_, n) => this.#sums(n))
  }

  /** Numbers of the grams that end at a token are found from those that end at the one before. */
  #count(ids) {
    let before = []
    for (const token of ids) {
      const now = []
      this.orders.every((order, n) => {
        const context = n ? before[n - 1] : 0
        if (context === undefined) return false
        const [number, isNew] = order.add(context, token, this.vocabulary)
        now.push(number)
        if (n === this.orders.length - 1) order.counts[number]++
        if (isNew && n) this.orders[n - 1].counts[now[n - 1]]++
        return true
      })
      before = now
    }
    this.orders[0].counts = this.orders[0].counts.map((count) => Math.max(count, 1))
  }

  /** By context: the sum of counts, and how many follow once, twice and more often. */
  #sums(n) {
    const { counts, contexts } = this.orders[n]
    const size = n ? this.orders[n - 1].counts.length : 1
    const sums = { total: new Float64Array(size), kinds: [0, 1, 2].map(() => new Float64Array(size)) }
    counts.forEach((count, number) => {
      sums.total[contexts[number]] += count
      if (count) sums.kinds[Math.min(count, 3) - 1][contexts[number]]++
    })
    return sums
  }

  /**
   * The loss of the tokens that `isScored` picks, in nats.
   *
   * @param scale factor on the discounts
   */
  loss(ids, isScored, scale = 1) {
    let nats = 0
    let before = []
    ids.forEach((token, at) => {
      const now = []
      let probability = 1 / this.vocabulary
      for (let n = 0; n < this.orders.length; n++) {
        const context = n ? before[n - 1] : 0
        if (context === undefined) break
        const number = this.orders[n].find(context, token, this.vocabulary)
        const { total, kinds } = this.sums[n]
        if (total[context]) {
          const discounts = this.discounts[n].map((discount, k) => Math.min(discount * scale, k + 1))
          const count = number === undefined ? 0 : this.orders[n].counts[number]
          const held = discounts.reduce((sum, discount, k) => sum + discount * kinds[k][context], 0)
          const own = count ? count - discounts[Math.min(count, 3) - 1] : 0
          probability = (own + held * probability) / total[context]
        }
        now[n] = number
      }
      before = now
      if (isScored(at)) nats -= Math.log(probability)
    })
    return nats
  }
}

/** The discounts of counts of one, two, and more. */
function discountsOf(counts) {
  const [n1, n2, n3, n4] = [1, 2, 3, 4].map((wanted) => counts.reduce((sum, count) => sum + (count === wanted ? 1 : 0), 0))
  const y = n1 / (n1 + 2 * n2)
  const plain = [1 - 2 * y * (n2 / n1), 2 - 3 * y * (n3 / n2), 3 - 4 * y * (n4 / n3)]
  return plain.map((discount, k) => (Number.isFinite(discount) && discount > 0 ? discount : (k + 1) / 2))
}
