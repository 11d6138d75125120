import { roundUp, rowBytes, type View } from '../plan/steps.js'
import type { Word } from '../program.js'
import type { Assembler } from './assembler.js'
import { as, at, eax, type General, k, Label, type Memory, r8q, rdx, type Vector } from './operands.js'
import type { VectorConstants, VectorMachine } from './vector-machine.js'

/** A register that points to the current row, and where the block of parameters says where rows begin and how far apart they are. */
export interface RowPointer {
  readonly register: General
  readonly address: Memory
  readonly stride: Memory
}

/** The pointer to the rows of one of a kernel's views, whose parameters are called NAME and NAMEStride. */
export function rowPointer<Name extends string>(
  parameters: { at(name: Name | `${Name}Stride`): Memory },
  name: Name,
  register: General,
): RowPointer {
  return { register, address: parameters.at(name), stride: parameters.at(`${name}Stride`) }
}

/** The words NAME and NAMEStride of a view, 0 where there is none. */
export function rowWords<Name extends string>(name: Name, view: View | undefined): Record<Name | `${Name}Stride`, Word> {
  const words = { [name]: view ? { address: view } : 0, [`${name}Stride`]: view ? { stride: view } : 0 }
  return words as Record<Name | `${Name}Stride`, Word>
}

/** Emits a loop over rows; the body may not touch rdx, nor the registers that point to rows. */
export function emitRows(a: Assembler, rows: Memory, pointers: readonly RowPointer[], body: () => void): void {
  const [next, done] = [new Label(), new Label()]
  a.mov(rdx, rows)
  for (const { register, address } of pointers) a.mov(register, address)
  a.test(rdx, rdx)
  a.je(done)
  a.bind(next)
  body()
  for (const { register, stride } of pointers) a.add(register, stride)
  a.dec(rdx)
  a.jne(next)
  a.bind(done)
}

/** A vector of columns of a row. */
export interface ColumnVector {
  /** Which of the vectors that are worked on side by side. */
  readonly place: number
  /** How many of its columns are the row's, where that is not all of them. */
  readonly part?: number
  /** The first of them behind a pointer to the row's first. */
  of(row: General, elementBytes?: 1 | 4): Memory
}

/** Emits work on all columns of a row, `together` vectors at a time. Counts in r8. */
export function emitColumns(
  a: Assembler,
  { lanes }: VectorMachine,
  columns: number,
  together: number,
  body: (vectors: readonly ColumnVector[]) => void,
): void {
  const whole = Math.floor(columns / lanes)
  const turns = Math.floor(whole / together)
  const left = columns - turns * together * lanes
  const vectorsOf = (count: number) =>
    Array.from({ length: Math.ceil(count / lanes) }, (_, place): ColumnVector => {
      const first = place * lanes
      return {
        place,
        ...(count - first < lanes && { part: count - first }),
        of: (row, elementBytes = 4) => at(row, first * elementBytes, r8q, elementBytes),
      }
    })
  a.xor(as('r32', r8q), as('r32', r8q))
  if (turns) {
    const next = a.here()
    body(vectorsOf(together * lanes))
    a.add(r8q, together * lanes)
    if (turns > 1) {
      a.cmp(r8q, turns * together * lanes)
      a.jl(next)
    }
  }
  if (left) body(vectorsOf(left))
}

/** Whether steps of `unit` columns may be written whole though the last is only partly the view's: what lies behind is nobody's. */
export function mayOverrun({ buffer, column, columns }: View, unit: number): boolean {
  const bytes = buffer.dtype === 'uint8' ? 1 : 4
  return column + columns === buffer.columns && (column + roundUp(columns, unit)) * bytes <= rowBytes(buffer)
}

/** Emits the store of the first `part` float32 of a vector, or of all. May use eax, k1 and the temporary. */
export function emitStore(
  a: Assembler,
  to: Memory,
  vector: Vector,
  part: number | undefined,
  temporary: Vector,
  constants: VectorConstants,
): void {
  if (part === undefined) a.vmovups(to, vector)
  else if (vector.kind === 'zmm') {
    a.mov(eax, 2 ** part - 1)
    a.kmovw(k[1], eax)
    a.vmovups(to.masked(k[1]), vector)
  } else {
    a.vmovups(temporary, constants.firstLanes(part))
    a.vmaskmovps(to, temporary, vector)
  }
}

/** Emits the reduction of a vector to its first lane; the temporary is overwritten. */
export function emitReduce(
  a: Assembler,
  vector: Vector,
  temporary: Vector,
  combine: (to: Vector, left: Vector, right: Vector) => void,
): void {
  if (vector.kind === 'zmm') {
    a.vextracti64x4(as('ymm', temporary), as('zmm', vector), 1)
    combine(as('ymm', vector), as('ymm', vector), as('ymm', temporary))
  }
  const [low, high] = [as('xmm', vector), as('xmm', temporary)]
  a.vextractf128(high, as('ymm', vector), 1)
  combine(low, low, high)
  for (const order of [0x4e, 0xb1]) {
    a.vpermilps(high, low, order)
    combine(low, low, high)
  }
}
