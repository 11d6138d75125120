import { closed, decisions } from '../team.js'
import type { Assembler } from './assembler.js'
import { as, at, Label, r8q, r12, r13, r14, rax, rbx, rcx, rdi, rdx, rsi } from './operands.js'
import { kernel, Parameters } from './parameters.js'

/**
 * Bytes that the threads of a team share, in lines of the cache of their own: how many helpers have arrived, what the first thread has decided (0
 * nothing yet), how many times threads have come to barriers, how many sleep, and for how long they do (seconds, nanoseconds).
 */
export const teamBytes = { arrived: 0, decision: 64, passed: 128, sleeping: 192, timeout: 256, all: 320 } as const

/** Nanoseconds after which a thread that sleeps looks whether the run was cancelled. */
export const sleepTime = 1e6

/** Functions of the system by their addresses: `system` calls it by numbers, as Linux has them, or is 0; `yield` lets other threads run. */
const functionNames = ['system', 'yield'] as const

export type SystemFunctions = Readonly<Record<(typeof functionNames)[number], number>>

/**
 * What a thread of a team starts with: the team's bytes, how many `helpers` the first thread waits for and for how many `ticks` of the processor's
 * clock, the thread's own list of calls, the list of all the work (0 for helpers), and the driver that works on lists.
 */
export const startParameters = new Parameters(['team', 'helpers', 'ticks', 'share', 'alone', 'driver', ...functionNames])

/** What a barrier is called with: `target` times threads have come to barriers when all have come to this one; `cancel` is a word's address. */
export const barrierParameters = new Parameters(['team', 'target', 'cancel', ...functionNames])

/** Where the code of a thread has what it needs: its parameters, the team, what it waits for. */
const [block, team, target, seen] = [rbx, r12, r13, r14]

/**
 * Code that the threads of a team start in. The first one waits for the helpers, for a while, and decides; helpers that come too late have
 * nothing to do.
 */
export function startTeam(): Uint8Array {
  const p = startParameters
  return kernel(0, (a) => {
    const [helper, run, done] = [new Label(), new Label(), new Label()]
    a.mov(block, rdi)
    a.mov(team, p.at('team'))
    a.mov(rax, p.at('alone'))
    a.test(rax, rax)
    a.je(helper)
    emitDecision(a)
    a.jmp(run)
    a.bind(helper)
    emitArrival(a, done)
    a.mov(rdi, p.at('share', block))
    a.bind(run)
    a.mov(rax, p.at('driver', block))
    a.call(rax)
    a.bind(done)
  })
}

/** Waits for the helpers, tells them whether they came in time, and leaves in rdi the list that the first thread works on. */
function emitDecision(a: Assembler): void {
  const p = startParameters
  const clock = r13
  const [close, decided] = [new Label(), new Label()]
  a.rdtsc()
  a.mov(clock, rax)
  const waitForHelpers = a.here()
  a.mov(rax, at(team, teamBytes.arrived))
  a.cmp(rax, p.at('helpers', block))
  a.je(close)
  a.pause()
  a.rdtsc()
  a.sub(as('r32', rax), as('r32', clock))
  a.cmp(rax, p.at('ticks', block))
  a.jb(waitForHelpers)
  a.bind(close)
  a.mov(rax, closed)
  a.lockXadd(at(team, teamBytes.arrived), rax)
  a.mov(rcx, decisions.alone)
  a.cmp(rax, p.at('helpers', block))
  a.mov(rax, p.at('alone', block))
  a.jne(decided)
  a.mov(rax, p.at('share', block))
  a.mov(rcx, decisions.shared)
  a.bind(decided)
  a.mov(target, rax)
  a.xchg(at(team, teamBytes.decision), rcx)
  emitWake(a, p, 'decision')
  a.mov(rdi, target)
}

/** Counts a helper and waits until the first thread has decided; goes to `leave` where there is nothing to do. */
function emitArrival(a: Assembler, leave: Label): void {
  const p = startParameters
  a.mov(rax, 1)
  a.lockXadd(at(team, teamBytes.arrived), rax)
  a.cmp(rax, p.at('helpers', block))
  a.jae(leave)
  emitWait(a, p, 'decision', (decided) => {
    a.test(rax, rax)
    a.jne(decided)
  })
  a.cmp(rax, decisions.shared)
  a.jne(leave)
}

/** Code in which each thread of a team waits for all others, or until the run is cancelled. A kernel like others. */
export function barrier(): Uint8Array {
  const p = barrierParameters
  return kernel(0, (a) => {
    const [wait, done] = [new Label(), new Label()]
    a.mov(block, rdi)
    a.mov(team, p.at('team'))
    a.mov(target, p.at('target'))
    a.mov(rax, 1)
    a.lockXadd(at(team, teamBytes.passed), rax)
    a.inc(rax)
    a.cmp(rax, target)
    a.jne(wait)
    emitWake(a, p, 'passed')
    a.jmp(done)
    a.bind(wait)
    emitWait(
      a,
      p,
      'passed',
      (leave) => {
        a.cmp(rax, target)
        a.jae(leave)
      },
      (leave) => {
        a.mov(rax, p.at('cancel', block))
        a.mov(rax, at(rax))
        a.test(rax, rax)
        a.jne(leave)
      },
    )
    a.bind(done)
  })
}

/** Where functions of the system are found. */
type Functions = Pick<Parameters<(typeof functionNames)[number]>, 'at'>

/** How often, in a row, a thread looks before it sleeps: some tens of microseconds. */
const looks = 1000

/** Numbers of Linux: the system call futex, to wait until a word changes, and to wake those that wait, within this process. */
const [futex, futexWait, futexWake] = [202, 128, 129]

/** Waits until `look`, which finds the word in rax, jumps to the label that it is given; before each sleep `lookAtLast` may do so too. */
function emitWait(
  a: Assembler,
  p: Functions,
  word: 'decision' | 'passed',
  look: (leave: Label) => void,
  lookAtLast: (leave: Label) => void = () => {},
): void {
  const [wait, again, yields, leave] = Array.from({ length: 4 }, () => new Label())
  a.bind(wait)
  a.mov(rdx, looks)
  a.bind(again)
  a.mov(rax, at(team, teamBytes[word]))
  look(leave)
  a.pause()
  a.dec(rdx)
  a.jne(again)
  a.mov(seen, rax)
  lookAtLast(leave)
  a.mov(rax, p.at('system', block))
  a.test(rax, rax)
  a.je(yields)
  emitAdd(a, 'sleeping', 1)
  a.mov(rdi, futex)
  a.lea(rsi, at(team, teamBytes[word]))
  a.mov(rdx, futexWait)
  a.mov(rcx, seen)
  a.lea(r8q, at(team, teamBytes.timeout))
  a.call(rax)
  emitAdd(a, 'sleeping', -1)
  a.jmp(wait)
  a.bind(yields)
  a.mov(rax, p.at('yield', block))
  a.call(rax)
  a.jmp(wait)
  a.bind(leave)
}

/** Wakes the threads that sleep until a word changes. */
function emitWake(a: Assembler, p: Functions, word: 'decision' | 'passed'): void {
  const none = new Label()
  a.mov(rax, at(team, teamBytes.sleeping))
  a.test(rax, rax)
  a.je(none)
  a.mov(rdi, futex)
  a.lea(rsi, at(team, teamBytes[word]))
  a.mov(rdx, futexWake)
  a.mov(rcx, 2 ** 31 - 1)
  a.mov(rax, p.at('system', block))
  a.call(rax)
  a.bind(none)
}

function emitAdd(a: Assembler, word: 'sleeping', amount: number): void {
  a.mov(rcx, amount)
  a.lockXadd(at(team, teamBytes[word]), rcx)
}
