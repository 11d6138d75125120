import { at, Label, r12, r13, rax, rbx, rdi } from './operands.js'
import { kernel } from './parameters.js'

/** What the driver is called with: words of 64 bits, the first of which ends the run when it is not 0. Pairs follow: code, parameters. */
export const driverWords = { cancel: 0, count: 1, calls: 2 } as const

/** Code that calls kernels one after the other, each with its block of parameters, until the list ends or the run is cancelled. */
export function driver(): Uint8Array {
  return kernel(0, (a) => {
    const [next, done] = [new Label(), new Label()]
    a.mov(rbx, rdi)
    a.mov(r12, at(rbx, 8 * driverWords.count))
    a.lea(r13, at(rbx, 8 * driverWords.calls))
    a.bind(next)
    a.test(r12, r12)
    a.je(done)
    a.mov(rax, at(rbx, 8 * driverWords.cancel))
    a.test(rax, rax)
    a.jne(done)
    a.mov(rdi, at(r13, 8))
    a.mov(rax, at(r13))
    a.call(rax)
    a.add(r13, 16)
    a.dec(r12)
    a.jmp(next)
    a.bind(done)
  })
}
