import { sumLanes } from '../flat-kernels.js'
import type { Assembler } from './assembler.js'
import { emitGroups } from './loops.js'
import { as, at, eax, type General, r8q, rcx, rdx, rsi, rsp, type Vector } from './operands.js'
import { kernel, Parameters } from './parameters.js'
import type { VectorMachine } from './vector-machine.js'

/** `input`: float32 [count]; `sums`: float64 [{@link sumLanes}]. */
export const sumOfSquaresParameters = new Parameters(['input', 'count', 'sums'])

const elementBytes = 4

/**
 * Code of the sums of squares of the elements i, i + 16, i + 32 ... for each i below 16, in float64 and in this order: squares of float32
 * are exact there, so that every machine gives the same bits. Called with `sumOfSquaresParameters`.
 */
export function sumOfSquares({ registers, bytes }: VectorMachine): Uint8Array {
  const p = sumOfSquaresParameters
  /** float64 of a vector. */
  const lanes = bytes / 8
  const sums = registers.slice(0, sumLanes / lanes)
  const squares = registers.slice(sums.length, 2 * sums.length)
  const addAll = (a: Assembler, base: General) => {
    for (const [i, square] of squares.entries()) a.vcvtps2pd(square, at(base, i * lanes * elementBytes))
    for (const [i, square] of squares.entries()) a.vfmadd231pd(sums[i], square, square)
  }
  return kernel(sumLanes * elementBytes, (a) => {
    for (const sum of sums) a.vxorps(sum, sum, sum)
    a.mov(rsi, p.at('input'))
    a.mov(rdx, p.at('count'))
    const group = () => {
      addAll(a, rsi)
      a.add(rsi, sumLanes * elementBytes)
    }
    const rest = () => {
      copyBeforeZeros(a, squares[0])
      addAll(a, rsp)
    }
    emitGroups(a, rdx, sumLanes, group, rest)
    a.mov(rcx, p.at('sums'))
    for (const [i, sum] of sums.entries()) a.vmovups(at(rcx, i * bytes), sum)
  })
}

/** Copies the rdx elements at rsi onto the stack, with zeros behind them. */
function copyBeforeZeros(a: Assembler, zero: Vector): void {
  const half = as('ymm', zero)
  a.vxorps(half, half, half)
  for (const place of [0, 32]) a.vmovups(at(rsp, place), half)
  a.xor(r8q, r8q)
  const next = a.here()
  a.mov(eax, at(rsi, 0, r8q, elementBytes))
  a.mov(at(rsp, 0, r8q, elementBytes), eax)
  a.add(r8q, 1)
  a.cmp(r8q, rdx)
  a.jl(next)
}
