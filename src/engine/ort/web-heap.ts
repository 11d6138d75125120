import { type DType, dtypes, sizeOf, storageBytes } from '../../numbers/dtype.js'
import { decode, encode } from '../../numbers/storage.js'
import { sumBytes } from '../compiled/flat-kernels.js'
import { elementType, elementTypeCode } from './element-types.js'
import { type HeapArray, inHeap, type RunRequest, type WireArray } from './web-protocol.js'

/**
 * The C functions of ONNX Runtime that onnxruntime-web calls, with what Emscripten gives beside them. Addresses are bytes in the heap.
 *
 * Source: onnxruntime/wasm/api.h.
 */
interface Module {
  _malloc(bytes: number): number
  _free(address: number): void
  stackSave(): number
  stackRestore(place: number): void
  stackAlloc(bytes: number): number
  lengthBytesUTF8(text: string): number
  stringToUTF8(text: string, address: number, bytes: number): void
  UTF8ToString(address: number): string
  _OrtGetLastError(code: number, message: number): number
  _OrtCreateTensor(type: number, data: number, bytes: number, shape: number, rank: number, place: number): number
  _OrtGetTensorData(tensor: number, type: number, data: number, shape: number, rank: number): number
  _OrtReleaseTensor(tensor: number): number
  _OrtFree(address: number): number
  _OrtCreateRunOptions(severity: number, verbosity: number, terminate: number, tag: number): number
  _OrtRun(
    session: number,
    inputNames: number,
    inputs: number,
    inputCount: number,
    outputNames: number,
    outputCount: number,
    outputs: number,
    options: number,
  ): number
}

const pointerBytes = 4
/** How many bytes pointers can tell apart. */
const addresses = 2 ** (8 * pointerBytes)
/** Where the elements of tensors are, of those places that `_OrtCreateTensor` knows: in the heap. */
const onProcessor = 1

/** The least that runs may log. */
const fatal = 4

/** The name of the function whose owner is the module, and which gives the sessions. */
const creator = '_OrtCreateSession'

/**
 * The heap of onnxruntime-web's WebAssembly, and runs whose feeds and outputs lie in it: the library itself copies all of them in and out.
 */
export class WebHeap {
  readonly #names = new Map<string, number>()
  /** For loops over arrays in the heap. */
  readonly sums: number
  /** ONNX Runtime's options of all runs. */
  readonly #options: number

  private constructor(
    readonly memory: WebAssembly.Memory,
    private readonly module: Module,
    private readonly session: () => number,
  ) {
    this.sums = module._malloc(sumBytes)
    this.#options = module._OrtCreateRunOptions(fatal, 0, 0, 0)
  }

  /**
   * Lets the library open its module and load a graph. It keeps the module to itself, so the memory that it makes and the object that it
   * assigns its functions to are noticed meanwhile.
   *
   * @returns undefined for a library that does this in another way
   */
  static async find(open: () => Promise<void>): Promise<WebHeap | undefined> {
    const { Memory } = WebAssembly
    let [memory, module, session]: [WebAssembly.Memory?, Module?, number?] = []
    WebAssembly.Memory = new Proxy(Memory, {
      construct(target, [descriptor]: [WebAssembly.MemoryDescriptor]) {
        const made = new target(descriptor)
        if (descriptor.initial) memory ??= made
        return made
      },
    })
    Object.defineProperty(Object.prototype, creator, {
      configurable: true,
      set(this: Module, create: (...given: number[]) => number) {
        module = this
        const value = (...given: number[]) => {
          session = create(...given)
          return session
        }
        Object.defineProperty(this, creator, { value, writable: true, enumerable: true, configurable: true })
      },
    })
    try {
      await open()
    } finally {
      WebAssembly.Memory = Memory
      Reflect.deleteProperty(Object.prototype, creator)
    }
    return memory && module && typeof session === 'number' ? new WebHeap(memory, module, () => session!) : undefined
  }

  /** The address of so many bytes, or 0 where there is no room. They are never given back: the heap goes with its thread. */
  allocate(bytes: number): number {
    return bytes < addresses ? this.module._malloc(bytes) : 0
  }

  /**
   * Runs the graph that was loaded last.
   *
   * @returns the outputs that have no place in the heap
   * @throws Error with ONNX Runtime's message
   */
  run({ feeds, outputs, into }: RunRequest): WireArray[] {
    const { module } = this
    const stack = module.stackSave()
    const lent: number[] = []
    const tensors: number[] = []
    const own = (tensor: number) => {
      tensors.push(tensor)
      return tensor
    }
    try {
      const inputs = feeds.map((feed) => own(inHeap(feed) ? this.#over(feed) : this.#copyOf(feed, lent)))
      const places = new Map(into.filter(inHeap).map((target) => [target.name, own(this.#over(target))]))
      const values = this.#pointers(outputs.map((name) => places.get(name) ?? 0))
      const inputNames = this.#pointers(feeds.map(({ name }) => this.#nameOf(name)))
      const outputNames = this.#pointers(outputs.map((name) => this.#nameOf(name)))
      this.#check(
        module._OrtRun(
          this.session(),
          inputNames,
          this.#pointers(inputs),
          inputs.length,
          outputNames,
          outputs.length,
          values,
          this.#options,
        ),
      )
      const made = [...this.#words(values, outputs.length)]
      const others = outputs.flatMap((name, i) => (places.has(name) ? [] : [{ name, tensor: own(made[i]) }]))
      return others.map(({ name, tensor }) => ({ name, ...this.#read(tensor) }))
    } finally {
      for (const tensor of tensors) module._OrtReleaseTensor(tensor)
      for (const address of lent) module._free(address)
      module.stackRestore(stack)
    }
  }

  /** A tensor over memory of the heap. */
  #over({ dtype, shape, address }: HeapArray): number {
    const bytes = storageBytes(dtype, sizeOf(shape))
    const made = this.module._OrtCreateTensor(elementTypeCode(dtype), address, bytes, this.#pointers(shape), shape.length, onProcessor)
    if (!made) this.#fail()
    return made
  }

  #copyOf({ name, dtype, shape, data }: WireArray, lent: number[]): number {
    const bytes = encode(dtype, data)
    const address = this.allocate(bytes.length)
    if (!address) throw new Error(`out of memory: no room for "${name}" of ${bytes.length} bytes`)
    lent.push(address)
    this.#bytes(address, bytes.length).set(bytes)
    return this.#over({ name, dtype, shape, address })
  }

  #read(tensor: number): Omit<WireArray, 'name'> {
    const facts = this.module.stackAlloc(4 * pointerBytes)
    const [type, data, dims, rank] = [0, 1, 2, 3].map((word) => facts + word * pointerBytes)
    this.#check(this.module._OrtGetTensorData(tensor, type, data, dims, rank))
    const [code, address, shapeAt, axes] = this.#words(facts, 4)
    const shape = [...this.#words(shapeAt, axes)]
    this.module._OrtFree(shapeAt)
    const dtype = elementType(code)!
    const bytes = this.#bytes(address, storageBytes(dtype, sizeOf(shape))).slice()
    return { dtype, shape, data: decode(dtype, bytes, sizeOf(shape)) }
  }

  /** Words on the stack. */
  #pointers(values: readonly number[]): number {
    const address = this.module.stackAlloc(pointerBytes * values.length)
    this.#words(address, values.length).set(values)
    return address
  }

  #nameOf(name: string): number {
    const known = this.#names.get(name)
    if (known) return known
    const bytes = this.module.lengthBytesUTF8(name) + 1
    const address = this.allocate(bytes)
    this.module.stringToUTF8(name, address, bytes)
    this.#names.set(name, address)
    return address
  }

  #words(address: number, count: number): Uint32Array {
    return new Uint32Array(this.memory.buffer, address, count)
  }

  #bytes(address: number, count: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, address, count)
  }

  #check(status: number): void {
    if (status) this.#fail()
  }

  #fail(): never {
    const facts = this.module.stackAlloc(2 * pointerBytes)
    this.module._OrtGetLastError(facts, facts + pointerBytes)
    throw new Error(this.module.UTF8ToString(this.#words(facts, 2)[1]))
  }
}

/** Whether arrays of this type may be fed to runs in the heap. */
export function hasBytes(dtype: DType): boolean {
  return dtypes[dtype].bits > 0
}
