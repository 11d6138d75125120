import { Tensor } from '../../../ir/tensor.js'
import type { NumberElements } from '../../../numbers/dtype.js'
import type { Step } from '../plan/steps.js'

/** Constants of a plan: what its tensors hold, and what is made from them; the same one is made once. */
export class Constants {
  readonly #elements = new Map<Tensor, NumberElements>()
  readonly #made = new Map<Tensor, Map<string, ArrayBufferView>>()
  readonly #numbers = new Map<Tensor, number>()

  /** Reads the tensors of a step, before its kernels are chosen. */
  async read(step: Step): Promise<void> {
    for (const tensor of tensorsOf(step)) {
      if (!this.#elements.has(tensor)) this.#elements.set(tensor, (await tensor.read()) as NumberElements)
    }
  }

  /** Lets go of the elements of a step; what was made from them stays known. */
  release(step: Step): void {
    for (const tensor of tensorsOf(step)) this.#elements.delete(tensor)
  }

  /** The elements of a tensor as they are. */
  of(tensor: Tensor): ArrayBufferView {
    return this.made([tensor], 'itself', ([elements]) => elements)
  }

  /** The elements of a tensor that belongs to the present step. */
  elements(tensor: Tensor): NumberElements {
    return this.#elements.get(tensor)!
  }

  /** What is made from the elements of tensors; equal names stand for equal results. */
  made(tensors: readonly Tensor[], name: string, make: (elements: readonly NumberElements[]) => ArrayBufferView): ArrayBufferView {
    const [first, ...others] = tensors
    const key = [name, ...others.map((tensor) => this.#numberOf(tensor))].join(' ')
    const known = this.#made.get(first) ?? new Map<string, ArrayBufferView>()
    this.#made.set(first, known)
    const made = known.get(key) ?? make(tensors.map((tensor) => this.elements(tensor)))
    known.set(key, made)
    return made
  }

  /** Stands for a constant from now on, once that lies where it is read from: nothing keeps the constant itself. */
  settle(constant: ArrayBufferView): ArrayBufferView {
    for (const known of this.#made.values()) {
      for (const [key, made] of known) {
        if (made !== constant) continue
        const token = made.byteLength ? new Uint8Array(0) : made
        known.set(key, token)
        return token
      }
    }
    return constant
  }

  #numberOf(tensor: Tensor): number {
    const number = this.#numbers.get(tensor) ?? this.#numbers.size
    this.#numbers.set(tensor, number)
    return number
  }
}

/** All tensors that a step names, at any depth. */
function tensorsOf(part: unknown): Tensor[] {
  if (part instanceof Tensor) return [part]
  return typeof part === 'object' && part !== null ? Object.values(part).flatMap(tensorsOf) : []
}
