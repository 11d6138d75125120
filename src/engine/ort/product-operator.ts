import type { Assembler } from '../compiled/x64/assembler.js'
import { productParameters } from '../compiled/x64/matrix-blocks.js'
import type { ProductForm } from '../compiled/x64/matrix-product.js'
import { at, type General, Label, type Memory, r8q, r9, rax, rbx, rcx, rdx, rsp } from '../compiled/x64/operands.js'
import { type OperatorCode, type OperatorSurroundings, operatorCode } from './operator-code.js'

/** Scratch memory of all products, as `productParameters` have it. */
export interface ProductMemory {
  readonly scratch: bigint
  readonly taken: bigint
  readonly slots: number
}

/** What the code of a product's operator depends on. */
export interface ProductOperator extends ProductForm, OperatorSurroundings {
  readonly hasBias: boolean
  readonly memory: ProductMemory
  /** Tasks of a large product. */
  readonly tasks: number
  /** Rows and columns of a tile. */
  readonly tile: readonly [number, number]
}

/** The most dimensions that a left matrix may have. */
export const mostDimensions = 8

/** Products of a task's rows, columns and inputs below which another task costs more than it saves. */
const worthATask = 1 << 18

const inputNames = ['left', 'right', 'bias'] as const
const names = [
  ...inputNames.flatMap((name) => [`${name} shape`, `${name} rank`]),
  ...['output rank', 'tasks'],
  ...Array.from({ length: mostDimensions }, (_, axis) => `dimension ${axis}`),
  ...productParameters.names.map((name) => `block ${name}`),
]

function word(name: string): Memory {
  return at(rsp, 8 * names.indexOf(name))
}

const block = (name: (typeof productParameters.names)[number]) => word(`block ${name}`)

/**
 * KernelComputeV2 of a matrix product: reads the inputs left [..., inputs], right and, where it has one, bias, and shares the work among the
 * session's threads.
 */
export function productOperator(operator: ProductOperator): Uint8Array {
  const { hasBias, memory, tasks, tile } = operator
  return operatorCode(names.length, operator, (code) => {
    const { a, done } = code
    a.xor(rax, rax)
    a.mov(block('bias'), rax)
    for (const [i, name] of inputNames.slice(0, hasBias ? 3 : 2).entries())
      code.input(i, word(`${name} shape`), word(`${name} rank`), block(name))
    emitSizes(code, operator)
    emitOutputShape(a, operator)
    a.lea(rdx, word('dimension 0'))
    a.mov(rcx, word('output rank'))
    code.output(block('output'))
    for (const size of ['rows', 'columns'] as const) emitDoneIfZero(a, size, done)
    emitShares(a, tasks, tile)
    for (const name of ['scratch', 'taken', 'slots'] as const) {
      a.mov(rax, memory[name])
      a.mov(block(name), rax)
    }
    code.run(word('tasks'), block('left'))
  })
}

/** Rows, columns and inputs, and the strides of the matrices. */
function emitSizes(code: OperatorCode, { transposedLeft, transposedRight, hasBias }: ProductOperator): void {
  const { a, mismatch } = code
  const [left, right, last] = [r8q, r9, rdx]
  a.mov(left, word('left shape'))
  a.mov(right, word('right shape'))
  a.mov(last, word('left rank'))
  a.mov(rcx, at(left, -8, last, 8))
  emitStride(a, 'leftStride', rcx)
  a.mov(block(transposedLeft ? 'rows' : 'inputs'), rcx)
  a.dec(last)
  code.size(left, last)
  a.mov(block(transposedLeft ? 'inputs' : 'rows'), rbx)
  a.mov(rcx, at(right, 8))
  emitStride(a, 'rightStride', rcx)
  a.mov(rbx, at(right))
  a.mov(block('columns'), transposedRight ? rbx : rcx)
  const inputs = transposedRight ? rcx : rbx
  a.cmp(inputs, block('inputs'))
  a.jne(mismatch)
  a.test(inputs, inputs)
  a.je(mismatch)
  a.mov(rcx, block('columns'))
  emitStride(a, 'outputStride', rcx)
  if (!hasBias) return
  a.mov(rax, word('bias shape'))
  a.cmp(rcx, at(rax))
  a.jne(mismatch)
}

function emitStride(a: Assembler, name: 'leftStride' | 'rightStride' | 'outputStride', size: General): void {
  a.lea(rax, at(size, 0, size, 1))
  a.add(rax, rax)
  a.mov(block(name), rax)
}

/** The dimensions of the left matrix with the last one replaced, or rows and columns where it is transposed. */
function emitOutputShape(a: Assembler, { transposedLeft }: ProductOperator): void {
  if (transposedLeft) {
    for (const [axis, size] of (['rows', 'columns'] as const).entries()) {
      a.mov(rax, block(size))
      a.mov(word(`dimension ${axis}`), rax)
    }
    a.mov(rax, 2)
    a.mov(word('output rank'), rax)
    return
  }
  a.mov(r8q, word('left shape'))
  a.mov(rdx, word('left rank'))
  a.mov(word('output rank'), rdx)
  a.lea(r9, word('dimension 0'))
  a.xor(rax, rax)
  const next = a.here()
  a.mov(rcx, at(r8q, 0, rax, 8))
  a.mov(at(r9, 0, rax, 8), rcx)
  a.inc(rax)
  a.cmp(rax, rdx)
  a.jl(next)
  a.mov(rcx, block('columns'))
  a.mov(at(r9, -8, rax, 8), rcx)
}

function emitDoneIfZero(a: Assembler, size: 'rows' | 'columns', done: Label): void {
  a.xor(rax, rax)
  a.cmp(rax, block(size))
  a.je(done)
}

/** How many tasks there are, and which share of rows or columns, whichever are more, each has. */
function emitShares(a: Assembler, most: number, [tileRows, tileColumns]: readonly [number, number]): void {
  const [byColumns, done] = [new Label(), new Label()]
  a.mov(rax, block('rows'))
  a.imul(rax, block('columns'))
  a.imul(rax, block('inputs'))
  a.shr(rax, Math.log2(worthATask))
  a.mov(rcx, 1)
  a.cmp(rax, rcx)
  a.cmovl(rax, rcx)
  a.mov(rcx, most)
  a.cmp(rax, rcx)
  a.cmovg(rax, rcx)
  a.mov(rcx, rax)
  a.mov(rbx, block('columns'))
  a.cmp(rbx, block('rows'))
  a.jg(byColumns)
  emitShare(a, 'rows', 'rowsOfTask', 'columnsOfTask', tileRows)
  a.jmp(done)
  a.bind(byColumns)
  emitShare(a, 'columns', 'columnsOfTask', 'rowsOfTask', tileColumns)
  a.bind(done)
}

/** The size shared by rcx tasks, in whole tiles. */
function emitShare(
  a: Assembler,
  size: 'rows' | 'columns',
  share: 'rowsOfTask' | 'columnsOfTask',
  none: 'rowsOfTask' | 'columnsOfTask',
  unit: number,
): void {
  a.xor(rax, rax)
  a.mov(block(none), rax)
  a.imul(rcx, rcx, unit)
  a.mov(rax, block(size))
  a.lea(rax, at(rax, -1, rcx, 1))
  a.xor(rdx, rdx)
  a.div(rcx)
  a.imul(rcx, rax, unit)
  a.mov(block(share), rcx)
  a.mov(rax, block(size))
  a.lea(rax, at(rax, -1, rcx, 1))
  a.xor(rdx, rdx)
  a.div(rcx)
  a.mov(word('tasks'), rax)
}
