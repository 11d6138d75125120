import type { Assembler } from './assembler.js'
import { type DotMachine, panelColumns, type TileStep, vectorBytes } from './dot-machine.js'
import { as, at, type General, Label, type Memory, r8q, r9, r12, r15, rax, rbx, rcx, rdx, rsi } from './operands.js'

/** How many bytes before their use weights are asked for; behind a panel's end come the next one's header and list. */
const ahead = 1024

/** A tile whose panel begins with a list of its groups. */
export interface CoupledTile extends Pick<TileStep, 'sums' | 'free'> {
  /** Where the list begins. */
  readonly list: Memory
  readonly groups: Memory
  readonly panelStride: Memory
}

/**
 * Emits the steps of all groups of the panel at r9, which `coupleGroups` (coupled-groups.ts) arranged: those of couples, then those of groups that are
 * alone. Rows begin at r12, rcx apart.
 */
export function emitCoupledTurns(a: Assembler, machine: DotMachine, { list, groups, panelStride, ...tile }: CoupledTile): void {
  const groupBytes = 4 * panelColumns(machine)
  const [listed, weights, left, inputs, threeRows] = [rdx, r8q, rax, [rsi, rbx], r15]
  const rows = [at, ...([1, 2] as const).map((row) => (base: General) => at(base, 0, rcx, row)), (base: General) => at(base, 0, threeRows)]
  const turns = (count: 1 | 2) => {
    const [next, done] = [new Label(), new Label()]
    a.test(left, left)
    a.je(done)
    a.align(32)
    a.bind(next)
    for (const [i, input] of inputs.slice(0, count).entries()) {
      a.movzx16(as('r32', input), at(listed, 4 + 2 * i))
      a.add(input, r12)
    }
    for (let group = 0; group < count; group++) a.prefetcht0(at(weights, ahead + group * groupBytes))
    machine.step(a, {
      ...tile,
      groups: count,
      activations: (row, group) => rows[row](inputs[group]),
      weights: (group, v) => at(weights, group * groupBytes + v * vectorBytes(machine)),
    })
    a.add(listed, 2 * count)
    a.add(weights, count * groupBytes)
    a.dec(left)
    a.jne(next)
    a.bind(done)
  }
  a.mov(weights, groups)
  a.imul(weights, weights, -groupBytes)
  a.add(weights, r9)
  a.add(weights, panelStride)
  a.lea(threeRows, at(rcx, 0, rcx, 2))
  a.lea(listed, list)
  a.mov(as('r32', left), list)
  turns(2)
  a.mov(as('r32', rbx), list)
  a.mov(left, groups)
  a.sub(left, rbx)
  a.sub(left, rbx)
  turns(1)
}
