import { TinsmithError } from '../../../base/errors.js'
import { roundUp } from '../plan/steps.js'
import { CodeWriter, type Fit, fitOf, signatureOf } from './encode.js'
import { type Form, type FormText, type OperandsOf, parseForm } from './forms.js'
import { instructions, type Mnemonic } from './instructions.js'
import { Label, Memory, type Operand, Register } from './operands.js'

type Emitters = { readonly [Name in Mnemonic]: (...operands: OperandsOf<(typeof instructions)[Name][number]>) => void }

/** An instruction's forms in order of preference, and which of them was taken for operands of a signature. */
class Instruction {
  #forms: readonly Form[] | undefined
  readonly #fits = new Map<number, Fit>()

  constructor(readonly name: Mnemonic) {}

  get forms(): readonly Form[] {
    const texts: readonly FormText[] = instructions[this.name]
    this.#forms ??= texts.flatMap(parseForm)
    return this.#forms
  }

  /** How the first form that takes the operands does so. */
  fit(operands: readonly Operand[]): Fit {
    const signature = signatureOf(operands)
    const known = this.#fits.get(signature)
    if (known) return known
    for (const form of this.forms) {
      const fit = fitOf(form, operands)
      if (!fit) continue
      this.#fits.set(signature, fit)
      return fit
    }
    throw new TinsmithError('failed', `No form of ${this.name} takes ${operands.map(describe).join(', ') || 'no operands'}`)
  }
}

/** Machine code that grows: instructions, labels and constants. */
class CodeBuffer {
  readonly #writer = new CodeWriter()

  /** Bytes so far. */
  get length(): number {
    return this.#writer.length
  }

  /** Adds an instruction in the first of its forms that the operands fit. */
  emit(instruction: Instruction, operands: readonly Operand[]): void {
    this.#writer.write(instruction.fit(operands), operands)
  }

  /** Gives the label its place, here. */
  bind(label: Label): Label {
    label.position = this.length
    return label
  }

  /** A label that is bound here. */
  here(): Label {
    return this.bind(new Label())
  }

  /** Fills up to a multiple of `bytes` with instructions that do nothing. */
  align(bytes: number): void {
    while (this.length % bytes) this.emit(instructionOf('nop'), [])
  }

  /** Constants, aligned and behind a label of their own. */
  constants(values: ArrayBufferView, alignment = 64): Label {
    this.#writer.append(new Uint8Array(roundUp(this.length, alignment) - this.length))
    const label = this.here()
    this.#writer.append(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    return label
  }

  /**
   * The code, with all distances to labels filled in. It may stand anywhere in memory.
   *
   * @throws TinsmithError `failed` when a label that is used has no place
   */
  code(): Uint8Array {
    const bytes = this.#writer.bytes()
    const view = new DataView(bytes.buffer)
    for (const { label, at, next, addend } of this.#writer.references) {
      if (label.position < 0) throw new TinsmithError('failed', `A label that the code at ${at} uses was never bound`)
      view.setInt32(at, label.position - next + addend, true)
    }
    return bytes
  }
}

function describe(operand: Operand): string {
  if (operand instanceof Register) return operand.mask ? `${operand.name}{${operand.mask.name}}` : operand.name
  if (operand instanceof Memory) return operand.broadcast ? 'repeated memory' : 'memory'
  return operand instanceof Label ? 'a label' : String(operand)
}

/** Machine code with a function for every instruction. */
export type Assembler = CodeBuffer & Emitters

const known = new Map<Mnemonic, Instruction>()

function instructionOf(name: Mnemonic): Instruction {
  const instruction = known.get(name) ?? new Instruction(name)
  known.set(name, instruction)
  return instruction
}

/** The forms of an instruction, in order of preference. */
export function formsOf(name: Mnemonic): readonly Form[] {
  return instructionOf(name).forms
}

let Instructions: (new () => CodeBuffer) | undefined

function instructionBuffer(): new () => CodeBuffer {
  class InstructionBuffer extends CodeBuffer {}
  for (const name of Object.keys(instructions) as Mnemonic[]) {
    const instruction = instructionOf(name)
    Object.defineProperty(InstructionBuffer.prototype, name, {
      value(this: CodeBuffer, ...operands: Operand[]) {
        this.emit(instruction, operands)
      },
    })
  }
  return InstructionBuffer
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
  Instructions ??= instructionBuffer()
  return new Instructions() as Assembler
}
