/**
 * The Mersenne Twister MT19937 with NumPy's way of making doubles: what the standard's reference draws from where an
 * operator has a `seed`. Everything else in this project draws from `Random`.
 *
 * Source: Matsumoto and Nishimura, 1998; numpy.random.RandomState.
 *
 * @example
 * new MersenneTwister(0).uniform() // 0.5488135039273248
 */
export class MersenneTwister {
  readonly #state = new Uint32Array(624)
  #at = 624

  constructor(seed: number) {
    const state = this.#state
    state[0] = seed >>> 0
    for (let i = 1; i < 624; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i
  }

  /** 32 random bits. */
  bits(): number {
    if (this.#at === 624) this.#twist()
    let y = this.#state[this.#at++]
    y ^= y >>> 11
    y ^= (y << 7) & 0x9d2c5680
    y ^= (y << 15) & 0xefc60000
    return (y ^ (y >>> 18)) >>> 0
  }

  /** Uniform in [0, 1), 53 bits. */
  uniform(): number {
    return ((this.bits() >>> 5) * 67108864 + (this.bits() >>> 6)) / 9007199254740992
  }

  #twist(): void {
    const state = this.#state
    for (let i = 0; i < 624; i++) {
      const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff)
      state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0)
    }
    this.#at = 0
  }
}
