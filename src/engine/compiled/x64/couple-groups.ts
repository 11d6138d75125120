import { mostTried } from '../coupled-groups.js'
import type { Assembler } from './assembler.js'
import {
  as,
  at,
  type General,
  Label,
  r8q,
  r9,
  r10,
  r11,
  r12,
  r13,
  r14,
  r15,
  rax,
  rbx,
  rcx,
  rdx,
  rsi,
  type Vector,
  ymm,
} from './operands.js'
import { kernel, Parameters } from './parameters.js'

/**
 * `lists`: of the first of `panels` panels of 16 columns, `stride` bytes apart, its list; `weights`: of the same panel. Each has `groups` groups of
 * inputs. `limit`: as `largestPairSum` has it. `scratch`: {@link waitingBytes} for every group.
 */
export const couplingParameters = new Parameters(['lists', 'weights', 'stride', 'panels', 'groups', 'limit', 'scratch'])

/** Of a group that waits for another one: its weights, the sums of their pairs, and where its inputs lie in a row. */
const waitingParts = { weights: 0, sums: 64, inputs: 192 } as const

/** Bytes of a group that waits. */
export const waitingBytes = 256

const weights = ymm.slice(0, 2)
const sums = ymm.slice(2, 6)
const temporaries = ymm.slice(6, 10)
const [ones, zero, limit] = ymm.slice(10, 13)

/** The panel's list, group, place to write to, place in the list, group's inputs, end and start of those that wait. */
const [list, read, written, listed, inputs, waitingEnd, waiting, entry] = [rsi, r8q, r9, r10, r11, r12, r13, rbx]

/** Code of `coupleGroups` (coupled-groups.ts) for panels as `packStrips` makes them. Called with `couplingParameters`. */
export function couplePanels(): Uint8Array {
  const p = couplingParameters
  return kernel(0, (a) => {
    const [panel, group] = [new Label(), new Label()]
    a.mov(list, p.at('lists'))
    a.mov(rdx, p.at('weights'))
    a.mov(r14, p.at('panels'))
    a.mov(waiting, p.at('scratch'))
    a.vpbroadcastw(limit, p.at('limit'))
    a.vpcmpeqb(ones, ones, ones)
    a.vpabsb(ones, ones)
    a.vpxor(zero, zero, zero)
    a.bind(panel)
    a.mov(read, rdx)
    a.mov(written, rdx)
    a.lea(listed, at(list, 4))
    a.xor(inputs, inputs)
    a.mov(waitingEnd, waiting)
    a.mov(r15, p.at('groups'))
    a.align(32)
    a.bind(group)
    emitSums(a)
    emitSearch(a)
    a.add(read, 64)
    a.add(inputs, 4)
    a.dec(r15)
    a.jne(group)
    emitRest(a)
    a.add(list, p.at('stride'))
    a.add(rdx, p.at('stride'))
    a.dec(r14)
    a.jne(panel)
  })
}

/** Of every pair of codes of the group the sum of the positive ones, and of the negative ones without sign. */
function emitSums(a: Assembler): void {
  emitLoad(a, weights, read)
  for (const [i, words] of weights.entries()) {
    const [positive, negative] = [sums[2 * i], sums[2 * i + 1]]
    a.vpmaxsb(positive, words, zero)
    a.vpmaddubsw(positive, positive, ones)
    a.vpminsb(negative, words, zero)
    a.vpabsb(negative, negative)
    a.vpmaddubsw(negative, negative, ones)
  }
}

/** Looks for a group that waits and fits. */
function emitSearch(a: Assembler): void {
  const [attempt, none, done] = [new Label(), new Label(), new Label()]
  a.lea(rax, at(waitingEnd, -mostTried * waitingBytes))
  a.cmp(rax, waiting)
  a.cmovb(rax, waiting)
  a.mov(entry, waitingEnd)
  a.bind(attempt)
  a.cmp(entry, rax)
  a.jbe(none)
  a.sub(entry, waitingBytes)
  const [largest, other] = temporaries
  for (const [i, sum] of sums.entries()) {
    const both = i ? other : largest
    a.vpaddw(both, sum, at(entry, waitingParts.sums + 32 * i))
    if (i) a.vpmaxsw(largest, largest, other)
  }
  a.vpcmpgtw(largest, largest, limit)
  a.vptest(largest, largest)
  a.jne(attempt)
  emitCouple(a)
  a.jmp(done)
  a.bind(none)
  emitStore(a, waitingEnd, [...weights, ...sums])
  a.mov(at(waitingEnd, waitingParts.inputs), inputs)
  a.add(waitingEnd, waitingBytes)
  a.bind(done)
}

/** The group and the one that waited, which the last one of those that wait replaces. */
function emitCouple(a: Assembler): void {
  emitWaited(a)
  emitStore(a, written, weights)
  a.add(written, 64)
  a.mov(rcx, inputs)
  emitListed(a)
  a.sub(waitingEnd, waitingBytes)
  const moved = [...temporaries, ...weights]
  emitLoad(a, moved, waitingEnd)
  emitStore(a, entry, moved)
  a.mov(rcx, at(waitingEnd, waitingParts.inputs))
  a.mov(at(entry, waitingParts.inputs), rcx)
}

/** The number of couples, and the groups that still wait. */
function emitRest(a: Assembler): void {
  const [single, done] = [new Label(), new Label()]
  a.lea(rcx, at(listed, -4))
  a.sub(rcx, list)
  a.shr(rcx, 2)
  a.mov(at(list), as('r32', rcx))
  a.mov(entry, waiting)
  a.bind(single)
  a.cmp(entry, waitingEnd)
  a.jae(done)
  emitWaited(a)
  a.add(entry, waitingBytes)
  a.jmp(single)
  a.bind(done)
}

/** Writes a group that waited. */
function emitWaited(a: Assembler): void {
  const words = temporaries.slice(0, 2)
  emitLoad(a, words, entry)
  emitStore(a, written, words)
  a.add(written, 64)
  a.mov(rcx, at(entry, waitingParts.inputs))
  emitListed(a)
}

/** Writes rcx into the list. */
function emitListed(a: Assembler): void {
  a.mov(at(listed), as('r8', rcx))
  a.shr(rcx, 8)
  a.mov(at(listed, 1), as('r8', rcx))
  a.add(listed, 2)
}

function emitLoad(a: Assembler, vectors: readonly Vector[], from: General): void {
  for (const [i, vector] of vectors.entries()) a.vmovdqu(vector, at(from, 32 * i))
}

function emitStore(a: Assembler, to: General, vectors: readonly Vector[]): void {
  for (const [i, vector] of vectors.entries()) a.vmovdqu(at(to, 32 * i), vector)
}
