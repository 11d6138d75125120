/**
 * SHA-256 of bytes that come piece by piece, for platforms whose own hash takes everything at once.
 * Source: FIPS 180-4.
 *
 * @example
 * const hash = new Sha256()
 * hash.update(bytes)
 * hash.digest() // 64 hexadecimal digits
 */
export class Sha256 {
  readonly #state = Int32Array.of(0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19)
  readonly #block = new Uint8Array(64)
  readonly #words = new Int32Array(64)
  #length = 0

  update(bytes: Uint8Array): this {
    const used = this.#length % 64
    this.#length += bytes.length
    let at = Math.min(bytes.length, 64 - used)
    this.#block.set(bytes.subarray(0, at), used)
    if (used + at < 64) return this
    this.#compress(this.#block, 0)
    for (; at + 64 <= bytes.length; at += 64) this.#compress(bytes, at)
    this.#block.set(bytes.subarray(at))
    return this
  }

  /** Ends the hash. */
  digest(): string {
    const bits = BigInt(this.#length) * 8n
    const padding = new Uint8Array(((119 - (this.#length % 64)) % 64) + 1 + 8)
    padding[0] = 0x80
    new DataView(padding.buffer).setBigUint64(padding.length - 8, bits)
    this.update(padding)
    return Array.from(this.#state, (word) => (word >>> 0).toString(16).padStart(8, '0')).join('')
  }

  #compress(bytes: Uint8Array, at: number): void {
    const words = this.#words
    for (let t = 0; t < 16; t++, at += 4) words[t] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]
    for (let t = 16; t < 64; t++) {
      const x = words[t - 15]
      const y = words[t - 2]
      const s0 = rotate(x, 7) ^ rotate(x, 18) ^ (x >>> 3)
      const s1 = rotate(y, 17) ^ rotate(y, 19) ^ (y >>> 10)
      words[t] = words[t - 16] + s0 + words[t - 7] + s1
    }
    const state = this.#state
    let a = state[0]
    let b = state[1]
    let c = state[2]
    let d = state[3]
    let e = state[4]
    let f = state[5]
    let g = state[6]
    let h = state[7]
    for (let t = 0; t < 64; t++) {
      const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + constants[t] + words[t]) | 0
      const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0
      h = g
      g = f
      f = e
      e = (d + t1) | 0
      d = c
      c = b
      b = a
      a = (t1 + t2) | 0
    }
    state[0] += a
    state[1] += b
    state[2] += c
    state[3] += d
    state[4] += e
    state[5] += f
    state[6] += g
    state[7] += h
  }
}

function rotate(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by))
}

/** The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
const constants = cubeRootBits(64)

function cubeRootBits(count: number): Int32Array {
  const bits = new Int32Array(count)
  for (let candidate = 2, found = 0; found < count; candidate++) {
    let prime = true
    for (let divisor = 2; divisor * divisor <= candidate; divisor++) prime &&= candidate % divisor !== 0
    if (prime) bits[found++] = Math.floor((Math.cbrt(candidate) % 1) * 2 ** 32)
  }
  return bits
}
