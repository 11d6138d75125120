import type { Assembler } from '../compiled/x64/assembler.js'
import { as, at, Label, type Memory, r8q, r12, r13, r14, r15, rax, rbx, rcx, rdi, rdx, rsi, rsp } from '../compiled/x64/operands.js'
import { kernel } from '../compiled/x64/parameters.js'
import type { ChainInputKind } from './elementwise-chains.js'
import type { OperatorFunctions } from './product-operator.js'

/** What the code of a chain's operator depends on. */
export interface ElementwiseOperation {
  readonly inputs: readonly ChainInputKind[]
  readonly functions: OperatorFunctions
  /** Where the code of {@link elementwiseTask} is. */
  readonly task: bigint
  /** Where the text lies that says that the inputs do not fit. */
  readonly mismatch: bigint
}

/** Elements of a task. */
const taskElements = 1 << 15
/** Elements of a row where all inputs are whole, so that rows are as long as one likes. */
const wholeRow = 1 << 12

const shared = ['elements', 'rowElements', 'rows', 'rowsOfTask', 'output'] as const
/** Words that tasks are called with: the shared ones, then the address of each input. */
const sharedWord = (name: (typeof shared)[number]) => 8 * shared.indexOf(name)
const inputWord = (index: number) => 8 * (shared.length + index)

/** KernelComputeV2 of a chain: one output of the shape of its whole inputs. */
export function elementwiseOperator({ inputs, functions, task, mismatch }: ElementwiseOperation): Uint8Array {
  const own = inputWord(inputs.length)
  const [value, type, shape, rank, wholeShape, wholeRank, tasks, sizes] = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => own + 8 * i)
  const first = inputs.indexOf('whole')
  return kernel(sizes + 8 * inputs.length, (a) => {
    const [done, different] = [new Label(), new Label()]
    const call = (name: keyof OperatorFunctions) => {
      a.mov(rax, functions[name])
      a.call(rax)
      a.test(rax, rax)
      a.jne(done)
    }
    const word = (offset: number) => at(rsp, offset)
    a.mov(r12, rsi)
    for (const i of inputs.keys()) {
      a.mov(rdi, r12)
      a.mov(rsi, i)
      a.lea(rdx, word(value))
      call('KernelContext_GetInput')
      a.mov(rdi, word(value))
      a.lea(rsi, word(type))
      a.lea(rdx, word(i === first ? wholeShape : shape))
      a.lea(rcx, word(i === first ? wholeRank : rank))
      call('GetTensorElementTypeAndShapeDataReference')
      emitSize(a, word(i === first ? wholeShape : shape), word(i === first ? wholeRank : rank))
      a.mov(word(sizes + 8 * i), rbx)
      a.mov(rdi, word(value))
      a.lea(rsi, word(inputWord(i)))
      call('GetTensorMutableData')
    }
    a.mov(rdi, r12)
    a.xor(rsi, rsi)
    a.mov(rdx, word(wholeShape))
    a.mov(rcx, word(wholeRank))
    a.lea(r8q, word(value))
    call('KernelContext_GetOutput')
    a.mov(rdi, word(value))
    a.lea(rsi, word(sharedWord('output')))
    call('GetTensorMutableData')
    a.mov(rax, word(sizes + 8 * first))
    a.mov(word(sharedWord('elements')), rax)
    a.test(rax, rax)
    a.je(done)
    if (inputs.every((kind) => kind === 'whole')) a.mov(rcx, wholeRow)
    else {
      a.mov(rcx, word(wholeShape))
      a.mov(rdx, word(wholeRank))
      a.mov(rcx, at(rcx, -8, rdx, 8))
    }
    a.mov(word(sharedWord('rowElements')), rcx)
    emitCeiling(a, word(sharedWord('elements')), word(sharedWord('rowElements')), word(sharedWord('rows')))
    for (const [i, kind] of inputs.entries()) {
      a.mov(rax, word(sharedWord(kind === 'whole' ? 'elements' : kind === 'rows' ? 'rows' : 'rowElements')))
      a.cmp(rax, word(sizes + 8 * i))
      a.jne(different)
    }
    a.mov(rax, taskElements)
    a.mov(word(tasks), rax)
    emitCeiling(a, word(tasks), word(sharedWord('rowElements')), word(sharedWord('rowsOfTask')))
    emitCeiling(a, word(sharedWord('rows')), word(sharedWord('rowsOfTask')), word(tasks))
    a.mov(rdi, r12)
    a.mov(rsi, task)
    a.mov(rdx, word(tasks))
    a.xor(rcx, rcx)
    a.mov(r8q, rsp)
    call('KernelContext_ParallelFor')
    a.jmp(done)
    a.bind(different)
    a.mov(rdi, 2)
    a.mov(rsi, mismatch)
    a.mov(rax, functions.CreateStatus)
    a.call(rax)
    a.bind(done)
  })
}

/** Sets rbx to the number of elements. */
function emitSize(a: Assembler, shape: Memory, rank: Memory): void {
  const [next, done] = [new Label(), new Label()]
  a.mov(rbx, 1)
  a.xor(rax, rax)
  a.mov(rcx, shape)
  a.mov(rdx, rank)
  a.bind(next)
  a.cmp(rax, rdx)
  a.jge(done)
  a.imul(rbx, at(rcx, 0, rax, 8))
  a.inc(rax)
  a.jmp(next)
  a.bind(done)
}

/** `quotient = ceil(dividend / divisor)` */
function emitCeiling(a: Assembler, dividend: Memory, divisor: Memory, quotient: Memory): void {
  a.mov(rcx, divisor)
  a.mov(rax, dividend)
  a.lea(rax, at(rax, -1, rcx, 1))
  a.xor(rdx, rdx)
  a.div(rcx)
  a.mov(quotient, rax)
}

/**
 * Code of a task, whose number is in rsi: calls the code of the chain for each of its rows.
 *
 * @param code where the code of the chain is; its words are count, the inputs (addresses, or bits where they are `rows`), and the output
 */
export function elementwiseTask(inputs: readonly ChainInputKind[], code: bigint): Uint8Array {
  const word = (index: number) => at(rsp, 8 * index)
  return kernel(8 * (inputs.length + 2), (a) => {
    const [next, done] = [new Label(), new Label()]
    const [block, row, end, offset] = [r12, r13, r14, r15]
    a.mov(block, rdi)
    a.mov(rax, at(block, sharedWord('rowsOfTask')))
    a.mov(row, rsi)
    a.imul(row, rax)
    a.mov(end, row)
    a.add(end, rax)
    a.cmp(end, at(block, sharedWord('rows')))
    a.cmovg(end, at(block, sharedWord('rows')))
    a.bind(next)
    a.cmp(row, end)
    a.jge(done)
    a.mov(offset, at(block, sharedWord('rowElements')))
    a.mov(rax, offset)
    a.imul(offset, row)
    a.mov(rcx, at(block, sharedWord('elements')))
    a.sub(rcx, offset)
    a.cmp(rcx, rax)
    a.cmovg(rcx, rax)
    a.mov(word(0), rcx)
    for (const [i, kind] of inputs.entries()) {
      a.mov(rax, at(block, inputWord(i)))
      if (kind === 'whole') a.lea(rax, at(rax, 0, offset, 4))
      else if (kind === 'rows') a.mov(as('r32', rax), at(rax, 0, row, 4))
      a.mov(word(1 + i), rax)
    }
    a.mov(rax, at(block, sharedWord('output')))
    a.lea(rax, at(rax, 0, offset, 4))
    a.mov(word(1 + inputs.length), rax)
    a.mov(rdi, rsp)
    a.mov(rax, code)
    a.call(rax)
    a.inc(row)
    a.jmp(next)
    a.bind(done)
  })
}
