/** Bytes that grow, with the integers of WebAssembly's binary format. */
export class Bytes {
  readonly #bytes: number[] = []

  byte(...values: number[]): this {
    for (const value of values) this.#bytes.push(value)
    return this
  }

  /** LEB128 without a sign. */
  unsigned(value: number): this {
    for (; value >= 128; value = Math.floor(value / 128)) this.#bytes.push((value % 128) | 128)
    this.#bytes.push(value)
    return this
  }

  /** LEB128 with a sign. */
  signed(value: number | bigint): this {
    let rest = BigInt(value)
    for (;;) {
      const low = Number(rest & 127n)
      rest >>= 7n
      if ((rest === 0n && low < 64) || (rest === -1n && low >= 64)) {
        this.#bytes.push(low)
        return this
      }
      this.#bytes.push(low | 128)
    }
  }

  text(value: string): this {
    const encoded = new TextEncoder().encode(value)
    return this.unsigned(encoded.length).append(encoded)
  }

  append(bytes: Iterable<number>): this {
    for (const byte of bytes) this.#bytes.push(byte)
    return this
  }

  /** Their number, then the bytes that the callback adds. */
  sized(fill: (inner: Bytes) => void): this {
    const inner = new Bytes()
    fill(inner)
    return this.unsigned(inner.length).append(inner.#bytes)
  }

  get length(): number {
    return this.#bytes.length
  }

  toArray(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.#bytes)
  }

  [Symbol.iterator](): Iterator<number> {
    return this.#bytes[Symbol.iterator]()
  }
}
