import type { Assembler } from '../compiled/x64/assembler.js'
import { as, at, Label, type Memory, r12, r13, r14, r15, rax, rbx, rcx, rdi, rdx, rsi, rsp } from '../compiled/x64/operands.js'
import { kernel } from '../compiled/x64/parameters.js'
import type { ChainInputKind } from './elementwise-chains.js'
import { type OperatorSurroundings, operatorCode } from './operator-code.js'

/** Elements of a task. */
const taskElements = 1 << 15
/** Elements of a row where all inputs are whole, so that rows are as long as one likes. */
const wholeRow = 1 << 12

const shared = ['elements', 'rowElements', 'rows', 'rowsOfTask', 'output'] as const
/** Words that tasks are called with: the shared ones, then the address of each input. */
const sharedWord = (name: (typeof shared)[number]) => 8 * shared.indexOf(name)
const inputWord = (index: number) => 8 * (shared.length + index)

/** KernelComputeV2 of a chain, whose tasks are {@link elementwiseTask}: one output of the shape of its whole inputs. */
export function elementwiseOperator(inputs: readonly ChainInputKind[], surroundings: OperatorSurroundings): Uint8Array {
  const own = inputWord(inputs.length)
  const [shape, rank, wholeShape, wholeRank, tasks, sizes] = [0, 1, 2, 3, 4, 5].map((i) => own + 8 * i)
  const first = inputs.indexOf('whole')
  return operatorCode(sizes / 8 + inputs.length, surroundings, (code) => {
    const { a, done, mismatch } = code
    const word = (offset: number) => at(rsp, offset)
    for (const i of inputs.keys()) {
      const [ownShape, ownRank] = i === first ? [wholeShape, wholeRank] : [shape, rank]
      code.input(i, word(ownShape), word(ownRank), word(inputWord(i)))
      a.mov(rcx, word(ownShape))
      a.mov(rdx, word(ownRank))
      code.size(rcx, rdx)
      a.mov(word(sizes + 8 * i), rbx)
    }
    a.mov(rdx, word(wholeShape))
    a.mov(rcx, word(wholeRank))
    code.output(word(sharedWord('output')))
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
      a.jne(mismatch)
    }
    a.mov(rax, taskElements)
    a.mov(word(tasks), rax)
    emitCeiling(a, word(tasks), word(sharedWord('rowElements')), word(sharedWord('rowsOfTask')))
    emitCeiling(a, word(sharedWord('rows')), word(sharedWord('rowsOfTask')), word(tasks))
    code.run(word(tasks), word(0))
  })
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
