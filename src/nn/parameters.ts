import { badInput, unsupported } from '../base/errors.js'
import { LazyTensor, type Tensor, transposed } from '../ir/tensor.js'

/**
 * The weights of a checkpoint, asked for by the name that the reference library gave them. What is missing is collected,
 * so that one error names all of it.
 */
export class Parameters {
  readonly #tensors: ReadonlyMap<string, Tensor>
  readonly #used = new Set<string>()
  readonly #missing: string[] = []

  constructor(tensors: ReadonlyMap<string, Tensor>) {
    this.#tensors = tensors
  }

  has(name: string): boolean {
    return this.#find(name) !== undefined
  }

  /** Whether any tensor belongs to the module of that name. */
  hasModule(name: string): boolean {
    return [...this.#tensors.keys()].some((tensor) => tensor.startsWith(`${name}.`))
  }

  /**
   * The tensor of that name. A missing one is noted and stands in as itself until {@link check}.
   *
   * @throws TinsmithError `bad-input` when its shape is not the one that the architecture needs
   */
  get(name: string, shape: readonly number[]): Tensor {
    const found = this.#find(name)
    if (found === undefined) {
      this.#missing.push(name)
      return new LazyTensor('float32', shape, () => Promise.reject(badInput(`the tensor ${name} is missing`)))
    }
    this.#used.add(found)
    const tensor = this.#tensors.get(found)!
    if (tensor.shape.join() !== shape.join())
      throw badInput(`the tensor ${name} has shape [${tensor.shape.join(', ')}] and config.json asks for [${shape.join(', ')}]`)
    return asFloat32(tensor, name)
  }

  /** A matrix that the checkpoint holds as [out, in], turned to the [in, out] that MatMul takes. */
  matrix(name: string, inputs: number, outputs: number): Tensor {
    return transposed(this.get(name, [outputs, inputs]))
  }

  /** The name as asked for, else as checkpoints call norms that were converted from TensorFlow (`gamma`, `beta`). */
  #find(name: string): string | undefined {
    const older = name.replace(/\.weight$/, '.gamma').replace(/\.bias$/, '.beta')
    return [name, older].find((candidate) => this.#tensors.has(candidate))
  }

  /** Names in the checkpoint that nobody asked for. */
  get unused(): string[] {
    return [...this.#tensors.keys()].filter((name) => !this.#used.has(name))
  }

  /** @throws TinsmithError `bad-input` naming the tensors that were asked for and are not there */
  check(): void {
    if (!this.#missing.length) return
    const named = this.#missing.slice(0, 4).join(', ')
    const more = this.#missing.length > 4 ? ` and ${this.#missing.length - 4} more` : ''
    throw badInput(`the checkpoint lacks ${this.#missing.length === 1 ? 'the tensor' : 'the tensors'} ${named}${more}`, {
      hint: 'The file is incomplete, or config.json belongs to another model.',
    })
  }
}

/** Weights in half or double precision are float32 in graphs; passes decide later what they are stored as. */
function asFloat32(tensor: Tensor, name: string): Tensor {
  if (tensor.dtype === 'float32') return tensor
  if (tensor.dtype === 'float16' || tensor.dtype === 'bfloat16') return new LazyTensor('float32', tensor.shape, () => tensor.read())
  if (tensor.dtype === 'float64')
    return new LazyTensor('float32', tensor.shape, async () => Float32Array.from((await tensor.read()) as Float64Array))
  throw unsupported(`the tensor ${name} is ${tensor.dtype}, and weights must be float32, float16, bfloat16 or float64`)
}
