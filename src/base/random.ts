/**
 * The one seeded generator: counter based (Philox 4x32-10, Salmon et al., 2011), so a stream is known by its seed and
 * its name, and the n-th draw of a stream does not depend on who else draws.
 *
 * @example
 * const random = new Random(7).stream('dropout')
 * random.uniform() // in [0, 1)
 */
export class Random {
  readonly seed: number
  readonly #name: string
  readonly #key: [number, number]
  #counter = 0
  #block: Uint32Array = new Uint32Array(4)
  #left = 0

  constructor(seed: number, name = '') {
    this.seed = seed
    this.#name = name
    this.#key = [mix(seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0), hashText(name)]
  }

  /** An independent generator of the same seed; a stream of a stream is known by both names. */
  stream(name: string): Random {
    return new Random(this.seed, this.#name ? `${this.#name}/${name}` : name)
  }

  /** 32 random bits as an unsigned integer. */
  bits(): number {
    if (!this.#left) {
      this.#block = philox(this.#counter++, this.#key)
      this.#left = 4
    }
    return this.#block[4 - this.#left--]
  }

  /** Uniform in [0, 1), 53 bits. */
  uniform(): number {
    return ((this.bits() >>> 5) * 2 ** 26 + (this.bits() >>> 6)) / 2 ** 53
  }

  /** A uniform integer in [0, bound). */
  integer(bound: number): number {
    return Math.floor(this.uniform() * bound)
  }

  /** Standard normal (Box-Muller). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
  }

  /** A random order of 0..count-1 (Fisher-Yates). */
  permutation(count: number): number[] {
    const order = Array.from({ length: count }, (_, i) => i)
    for (let i = count - 1; i > 0; i--) {
      const j = this.integer(i + 1)
      ;[order[i], order[j]] = [order[j], order[i]]
    }
    return order
  }

  /** `count` standard normal numbers times `deviation`. */
  normals(count: number, deviation = 1): Float32Array {
    return Float32Array.from({ length: count }, () => this.normal() * deviation)
  }
}

function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash >>> 0
}

function mix(a: number, b: number): number {
  let x = (a ^ Math.imul(b, 0x9e3779b1)) >>> 0
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
  return (x ^ (x >>> 16)) >>> 0
}

/** The high 32 bits of a product of unsigned 32-bit integers, by 16-bit halves. */
function multiplyHigh(a: number, b: number): number {
  const [a1, a0, b1, b0] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff]
  const middle = a1 * b0 + ((a0 * b0) >>> 16)
  const carry = (middle & 0xffff) + a0 * b1
  return (a1 * b1 + Math.floor(middle / 65536) + Math.floor(carry / 65536)) >>> 0
}

function philox(counter: number, key: readonly [number, number]): Uint32Array {
  let x = [counter >>> 0, Math.floor(counter / 2 ** 32) >>> 0, 0, 0]
  let [k0, k1] = key
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, x[0])
    const low0 = Math.imul(0xd2511f53, x[0]) >>> 0
    const high1 = multiplyHigh(0xcd9e8d57, x[2])
    const low1 = Math.imul(0xcd9e8d57, x[2]) >>> 0
    x = [(high1 ^ x[1] ^ k0) >>> 0, low1, (high0 ^ x[3] ^ k1) >>> 0, low0]
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return Uint32Array.from(x)
}
