import type { Assembler } from '../compiled/x64/assembler.js'
import { at, type General, Label, type Memory, r8q, r12, rax, rbx, rcx, rdi, rdx, rsi, rsp } from '../compiled/x64/operands.js'
import { kernel } from '../compiled/x64/parameters.js'

/** The C functions that operators call. */
export type OperatorFunctions = Readonly<
  Record<
    | 'CreateStatus'
    | 'GetTensorElementTypeAndShapeDataReference'
    | 'GetTensorMutableData'
    | 'KernelContext_GetInput'
    | 'KernelContext_GetOutput'
    | 'KernelContext_ParallelFor',
    bigint
  >
>

/** What every operator's code calls and says. */
export interface OperatorSurroundings {
  readonly functions: OperatorFunctions
  /** Where the code of a task is. */
  readonly task: bigint
  /** Where the text lies that says that the inputs do not fit. */
  readonly mismatch: bigint
}

/** OrtErrorCode ORT_INVALID_ARGUMENT. */
const invalidArgument = 2

/**
 * KernelComputeV2 of an operator: code that returns the status of the first call that fails, one of its own at `mismatch`, and null where `emit`
 * ends or `done` is reached.
 *
 * @param words 64-bit words on the stack that are the operator's own, from rsp on
 */
export function operatorCode(words: number, surroundings: OperatorSurroundings, emit: (code: OperatorCode) => void): Uint8Array {
  return kernel(8 * (words + 2), (a) => {
    const code = new OperatorCode(a, surroundings, at(rsp, 8 * words), at(rsp, 8 * words + 8))
    a.mov(r12, rsi)
    emit(code)
    code.end()
  })
}

/** Calls of ONNX Runtime's functions; r12 keeps the context, other registers are lost. */
export class OperatorCode {
  readonly done = new Label()
  readonly mismatch = new Label()

  constructor(
    readonly a: Assembler,
    private readonly surroundings: OperatorSurroundings,
    private readonly value: Memory,
    private readonly type: Memory,
  ) {}

  /** Where shape (its address), rank and data (its address) of an input go. */
  input(index: number, shape: Memory, rank: Memory, data: Memory): void {
    const { a } = this
    a.mov(rdi, r12)
    a.mov(rsi, index)
    a.lea(rdx, this.value)
    this.#call('KernelContext_GetInput')
    a.mov(rdi, this.value)
    a.lea(rsi, this.type)
    a.lea(rdx, shape)
    a.lea(rcx, rank)
    this.#call('GetTensorElementTypeAndShapeDataReference')
    this.#dataOfValue(data)
  }

  /** Asks for the memory of the output, whose dimensions lie at rdx, rcx of them. */
  output(data: Memory): void {
    const { a } = this
    a.mov(rdi, r12)
    a.xor(rsi, rsi)
    a.lea(r8q, this.value)
    this.#call('KernelContext_GetOutput')
    this.#dataOfValue(data)
  }

  /** Runs the tasks, each called with the address of the parameters and its number, on the session's threads. */
  run(tasks: Memory, parameters: Memory): void {
    const { a } = this
    a.mov(rdi, r12)
    a.mov(rsi, this.surroundings.task)
    a.mov(rdx, tasks)
    a.xor(rcx, rcx)
    a.lea(r8q, parameters)
    this.#call('KernelContext_ParallelFor')
  }

  /** Sets rbx to the product of the dimensions at `shape`, `rank` of them; loses rax. */
  size(shape: General, rank: General): void {
    const { a } = this
    const [next, done] = [new Label(), new Label()]
    a.mov(rbx, 1)
    a.xor(rax, rax)
    a.bind(next)
    a.cmp(rax, rank)
    a.jge(done)
    a.imul(rbx, at(shape, 0, rax, 8))
    a.inc(rax)
    a.jmp(next)
    a.bind(done)
  }

  end(): void {
    const { a } = this
    a.jmp(this.done)
    a.bind(this.mismatch)
    a.mov(rdi, invalidArgument)
    a.mov(rsi, this.surroundings.mismatch)
    a.mov(rax, this.surroundings.functions.CreateStatus)
    a.call(rax)
    a.bind(this.done)
  }

  #dataOfValue(data: Memory): void {
    this.a.mov(rdi, this.value)
    this.a.lea(rsi, data)
    this.#call('GetTensorMutableData')
  }

  #call(name: keyof OperatorFunctions): void {
    const { a } = this
    a.mov(rax, this.surroundings.functions[name])
    a.call(rax)
    a.test(rax, rax)
    a.jne(this.done)
  }
}
