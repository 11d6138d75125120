import { badInput } from '../../base/errors.js'
import type { TokenSequence } from '../session.js'
import type { Batch, Program } from './backend.js'
import { CacheStore, CacheView, capacityFor, continued } from './caches.js'
import { checkedNumbers, checkPlaces, packingOf } from './packing.js'
import { likeliest, type PlanOutline } from './plan/plan.js'

/** What the numbers of tokens are, by the name of the input: the ids themselves, and their places. */
const numbersOf: Readonly<Record<string, (ids: readonly number[], past: number) => Int32Array>> = {
  input_ids: (ids) => Int32Array.from(ids),
  position_ids: (ids, past) => Int32Array.from(ids, (_, i) => past + i),
}

/** A sequence of a plan that keeps keys and values, in the program's memory. */
export class CompiledSequence implements TokenSequence {
  readonly #logits: Float32Array
  #view: CacheView | undefined

  /** A sequence where the plan makes logits of last tokens, from nothing but tokens and their places; else undefined. */
  static of(plan: PlanOutline, program: Program): CompiledSequence | undefined {
    const isDecoder = plan.caches.length > 0 && plan.steps.some(({ kind }) => kind === 'keep') && plan.outputs.has(likeliest)
    return isDecoder && plan.numbers.every((name) => name in numbersOf) ? new CompiledSequence(plan, program) : undefined
  }

  private constructor(
    readonly plan: PlanOutline,
    readonly program: Program,
  ) {
    this.#logits = new Float32Array(plan.outputs.get('logits')!.columns)
  }

  async logits(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
    await this.#append(ids, { logits: this.#logits }, signal)
    return this.#logits
  }

  async likeliest(ids: readonly number[], signal?: AbortSignal): Promise<number> {
    const token = new Float32Array(1)
    await this.#append(ids, { [likeliest]: token }, signal)
    return token[0]
  }

  async #append(ids: readonly number[], outputs: Batch['outputs'], signal: AbortSignal | undefined): Promise<void> {
    if (!ids.length) throw badInput('A run needs one token at least')
    const { plan, program } = this
    const past = this.#view?.tokens[0] ?? 0
    const pasts = Int32Array.of(past)
    const packing = packingOf(1, ids.length, past, undefined)
    checkPlaces(plan, packing, pasts)
    const numbers = Object.fromEntries(plan.numbers.map((name) => [name, checkedNumbers(plan, name, numbersOf[name](ids, past))]))
    const view = this.#roomFor(past + ids.length)
    const batch = { starts: packing.starts, pasts, caches: view.store.caches, numbers, images: {}, keepLast: true }
    try {
      await program.run({ ...batch, outputs }, signal)
    } catch (error) {
      view.release()
      throw error
    }
    view.store.used.set(view.tokens)
    this.#view?.release()
    this.#view = view
  }

  #roomFor(tokens: number): CacheView {
    const needed = Int32Array.of(tokens)
    const store = this.#view ? continued(this.#view, needed) : new CacheStore(this.program, [capacityFor(tokens)])
    return new CacheView(store, needed, () => [Array.from({ length: tokens }, (_, i) => i)], tokens)
  }

  dispose(): void {
    this.#view?.release()
    this.#view = undefined
  }
}
