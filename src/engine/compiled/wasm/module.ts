import { Bytes } from './bytes.js'
import { FunctionBuilder, type FunctionReference, typeCodes } from './function.js'
import type { ValueType } from './instructions.js'

/** The memory that a module imports as `env.memory`, in pages of 64 KiB. */
export interface MemoryImport {
  readonly initial: number
  readonly maximum: number
  readonly shared: boolean
}

/** What the engine that runs the module was proved to have beyond the baseline. */
export interface WasmFeatures {
  /** `f32x4.relaxed_madd`, fused or not. */
  readonly multiplyAdd: boolean
  /** `i16x8.relaxed_q15mulr_s`, exact but for the product of the two lowest numbers. */
  readonly roundedProduct: boolean
  /**
   * Which products of signed bytes with small numbers are exact and fastest: `pairs` by `i16x8.relaxed_dot_i8x16_i7x16_s`, `quads` by
   * `i32x4.relaxed_dot_i8x16_i7x16_add_s`, which is best where the processor adds four products by itself.
   */
  readonly dot: 'none' | 'pairs' | 'quads'
  /** The largest of those small numbers: 127, which is sure, or 255 where the engine takes all bytes as unsigned. */
  readonly largestCode: 127 | 255
  /** In how many bits products are added in pairs: in 16, sums that do not fit come out wrong. */
  readonly pairBits: 16 | 32
}

export const baselineFeatures: WasmFeatures = { multiplyAdd: false, roundedProduct: false, dot: 'none', largestCode: 127, pairBits: 16 }

interface Signature {
  readonly parameters: readonly ValueType[]
  readonly results: readonly ValueType[]
}

/** Functions by keys; the table holds all of them, each at its own index. */
export class ModuleBuilder {
  readonly #types: string[] = []
  readonly #signatures: Signature[] = []
  readonly #functions: { type: number; builder: FunctionBuilder }[] = []
  readonly #known = new Map<string, FunctionReference>()
  readonly #exports = new Map<string, FunctionReference>()

  constructor(
    readonly memory?: MemoryImport,
    readonly features: WasmFeatures = baselineFeatures,
  ) {}

  /** The function with this key; it is written by `body` where there is none yet. */
  function(
    key: string,
    parameters: readonly ValueType[],
    results: readonly ValueType[],
    body: (f: FunctionBuilder) => void,
  ): FunctionReference {
    const known = this.#known.get(key)
    if (known) return known
    const reference = { index: this.#functions.length, parameters, results }
    const builder = new FunctionBuilder(this, parameters, results)
    this.#functions.push({ type: this.typeIndex(parameters, results), builder })
    this.#known.set(key, reference)
    body(builder)
    return reference
  }

  export(name: string, target: FunctionReference): void {
    this.#exports.set(name, target)
  }

  /** The index of a function's type. */
  typeIndex(parameters: readonly ValueType[], results: readonly ValueType[]): number {
    const name = `${parameters}:${results}`
    const known = this.#types.indexOf(name)
    if (known >= 0) return known
    this.#signatures.push({ parameters, results })
    return this.#types.push(name) - 1
  }

  /** The module in WebAssembly's binary format. */
  bytes(): Uint8Array<ArrayBuffer> {
    const out = new Bytes().byte(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0)
    const count = this.#functions.length
    const section = (id: number, items: number, fill: (inner: Bytes) => void) => {
      if (items) out.byte(id).sized((inner) => fill(inner.unsigned(items)))
    }
    section(1, this.#signatures.length, (inner) => {
      for (const { parameters, results } of this.#signatures) {
        inner.byte(0x60)
        for (const list of [parameters, results]) inner.unsigned(list.length).byte(...list.map((type) => typeCodes[type]))
      }
    })
    section(2, this.memory ? 1 : 0, (inner) => {
      const { initial, maximum, shared } = this.memory!
      inner
        .text('env')
        .text('memory')
        .byte(2, shared ? 3 : 1)
        .unsigned(initial)
        .unsigned(maximum)
    })
    section(3, count, (inner) => {
      for (const { type } of this.#functions) inner.unsigned(type)
    })
    section(4, 1, (inner) => inner.byte(0x70, 0).unsigned(count))
    section(7, this.#exports.size, (inner) => {
      for (const [name, { index }] of this.#exports) inner.text(name).byte(0).unsigned(index)
    })
    section(9, 1, (inner) => {
      inner.byte(0, 0x41, 0, 0x0b).unsigned(count)
      for (let index = 0; index < count; index++) inner.unsigned(index)
    })
    section(10, count, (inner) => {
      for (const { builder } of this.#functions) inner.sized((code) => code.append(builder.body()))
    })
    return out.toArray()
  }
}
