import { emitQuantizeRows } from './attention-codes.js'
import { type AttentionCode, type AttentionShape, attentionParameters, local, scratchLayout } from './attention-frame.js'
import type { Entry } from './attention-sequences.js'
import { type General, type Memory, r9, r11, r14, r15, rax, rcx, rdx, rsi } from './operands.js'
import { emitRotateRow, rotatedColumns } from './rotary.js'

/** Lengths whose last vector may be a part of one. */
export function rotaryLengths({ rotation, headSize }: AttentionShape): number[] {
  return rotation ? rotatedColumns({ ...rotation, headSize, copies: true }) : []
}

/** Sets where the numbers of the sequence's tokens begin; nothing where the attention does not rotate. Overwrites rcx. */
export function emitFirstNumber({ a, shape }: AttentionCode, entry: Entry): void {
  if (!shape.rotation) return
  a.mov(rcx, entry('first'))
  a.shl(rcx, 2)
  a.add(rcx, attentionParameters.at('numbers'))
  a.mov(local('firstNumber'), rcx)
}

/** Rotates the sequence's keys from rax on: to the cache at r9, or on the way to codes there and their scales at r11. */
export function emitRotatedKeys(code: AttentionCode, entry: Entry): void {
  const { a, shape } = code
  const { keyValueHeads, headSize, cache } = shape
  const [codes, scales] = [r14, r15]
  const rotatedKeys = attentionParameters.at('rotatedKeys')
  emitFirstNumber(code, entry)
  a.mov(rsi, rax)
  a.mov(codes, r9)
  a.mov(scales, r11)
  a.mov(rcx, cache === 'int8' ? rotatedKeys : r9)
  a.mov(r9, local('firstNumber'))
  a.mov(rdx, local('rows'))
  emitRotateRows(code, keyValueHeads, attentionParameters.at('keyStride'))
  if (cache === 'int8') {
    a.mov(rcx, 4 * keyValueHeads * headSize)
    a.mov(local('keyStride'), rcx)
    a.mov(rax, rotatedKeys)
    a.mov(r9, codes)
    a.mov(r11, scales)
    emitQuantizeRows(code, headSize, local('keyStride'))
  }
  a.mov(rsi, local('table'))
}

/** Rotates the tile's queries, of one head and `distance` apart, to scratch memory, and sets both registers to where they are then. */
export function emitRotatedQueries(code: AttentionCode, query: General, distance: General): void {
  const { a, machine, shape } = code
  const { rotated } = scratchLayout(shape, machine).many
  a.mov(rsi, query)
  a.mov(rcx, attentionParameters.at('scratch'))
  a.add(rcx, rotated)
  a.mov(r9, local('row'))
  a.shl(r9, 2)
  a.add(r9, local('firstNumber'))
  a.mov(rdx, local('count'))
  emitRotateRows(code, 1, attentionParameters.at('queryStride'))
  a.mov(query, attentionParameters.at('scratch'))
  a.add(query, rotated)
  a.mov(distance, 4 * shape.headSize)
}

/** Rotates all heads of one query at rsi to scratch memory, a row for each, and sets rsi there. */
export function emitRotatedQuery(code: AttentionCode): void {
  const { a, machine, shape } = code
  a.mov(rcx, attentionParameters.at('scratch'))
  a.mov(r9, local('firstNumber'))
  emitRotateHeads(code, shape.heads, scratchLayout(shape, machine).single.queryRow)
  a.mov(rsi, rcx)
}

/** Rotates rdx rows from rsi, `stride` apart, to rcx, one behind the other, by the numbers from r9 on. */
function emitRotateRows(code: AttentionCode, heads: number, stride: Memory): void {
  const { a, shape } = code
  const next = a.here()
  emitRotateHeads(code, heads)
  a.add(rsi, stride)
  a.add(rcx, 4 * heads * shape.headSize)
  a.add(r9, 4)
  a.dec(rdx)
  a.jne(next)
}

function emitRotateHeads(code: AttentionCode, heads: number, headBytes?: number): void {
  const { rotation, headSize } = code.shape
  emitRotateRow(code, { ...rotation!, headSize, copies: true, heads }, attentionParameters, headBytes)
}
