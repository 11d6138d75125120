import { TinsmithError } from '../../../base/errors.js'
import { type Encoded, encode, type Reference } from './encode.js'
import { type Form, type FormText, type OperandsOf, parseForm } from './forms.js'
import { instructions, type Mnemonic } from './instructions.js'
import { Label, Memory, type Operand, Register } from './operands.js'

type Emitters = { readonly [Name in Mnemonic]: (...operands: OperandsOf<(typeof instructions)[Name][number]>) => void }

/** The forms of every instruction, in order of preference. */
export const forms: ReadonlyMap<Mnemonic, readonly Form[]> = new Map(
  (Object.entries(instructions) as [Mnemonic, readonly FormText[]][]).map(([name, texts]) => [name, texts.flatMap(parseForm)]),
)

/** Machine code that grows: instructions, labels and constants. */
class CodeBuffer {
  #bytes = new Uint8Array(4096)
  #length = 0
  readonly #references: Reference[] = []

  /** Bytes so far. */
  get length(): number {
    return this.#length
  }

  /** Adds an instruction in the first of its forms that the operands fit. */
  emit(name: Mnemonic, operands: readonly Operand[]): void {
    for (const form of forms.get(name)!) {
      const encoded = encode(form, operands)
      if (!encoded) continue
      this.#add(encoded)
      return
    }
    throw new TinsmithError('failed', `No form of ${name} takes ${operands.map(describe).join(', ') || 'no operands'}`)
  }

  /** Gives the label its place, here. */
  bind(label: Label): Label {
    label.position = this.#length
    return label
  }

  /** A label that is bound here. */
  here(): Label {
    return this.bind(new Label())
  }

  /** Fills up to a multiple of `bytes` with instructions that do nothing. */
  align(bytes: number): void {
    while (this.#length % bytes) this.emit('nop', [])
  }

  /** Constants, aligned and behind a label of their own. */
  constants(values: ArrayBufferView, alignment = 64): Label {
    while (this.#length % alignment) this.#append([0])
    const label = this.here()
    this.#append(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    return label
  }

  /**
   * The code, with all distances to labels filled in. It may stand anywhere in memory.
   *
   * @throws TinsmithError `failed` when a label that is used has no place
   */
  code(): Uint8Array {
    const bytes = this.#bytes.slice(0, this.#length)
    const view = new DataView(bytes.buffer)
    for (const { label, at, next, addend } of this.#references) {
      if (label.position < 0) throw new TinsmithError('failed', `A label that the code at ${at} uses was never bound`)
      view.setInt32(at, label.position - next + addend, true)
    }
    return bytes
  }

  #add({ bytes, reference }: Encoded): void {
    const start = this.#length
    if (reference) this.#references.push({ ...reference, at: start + reference.at, next: start + reference.next })
    this.#append(bytes)
  }

  #append(bytes: ArrayLike<number>): void {
    const end = this.#length + bytes.length
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(2 * end)
      larger.set(this.#bytes)
      this.#bytes = larger
    }
    this.#bytes.set(bytes, this.#length)
    this.#length = end
  }
}

function describe(operand: Operand): string {
  if (operand instanceof Register) return operand.mask ? `${operand.name}{${operand.mask.name}}` : operand.name
  if (operand instanceof Memory) return operand.broadcast ? 'repeated memory' : 'memory'
  return operand instanceof Label ? 'a label' : String(operand)
}

/** Machine code with a function for every instruction. */
export type Assembler = CodeBuffer & Emitters

class InstructionBuffer extends CodeBuffer {}
for (const name of Object.keys(instructions) as Mnemonic[]) {
  Object.defineProperty(InstructionBuffer.prototype, name, {
    value(this: CodeBuffer, ...operands: Operand[]) {
      this.emit(name, operands)
    },
  })
}

/**
 * An assembler for x64. Every instruction of the table in instructions.ts is a function of it, destination first.
 *
 * @example
 * const a = assembler()
 * a.mov(rax, rdi)
 * a.add(rax, at(rsi, 8))
 * a.ret()
 * a.code().length // 8
 */
export function assembler(): Assembler {
  return new InstructionBuffer() as Assembler
}
