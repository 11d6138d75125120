import type { Assembler } from './assembler.js'
import { type General, Label } from './operands.js'

/** Code that does so many of what `count` counts at a time, as long as there are as many; `rest` does what is left, where something is. */
export function emitGroups(a: Assembler, count: General, size: number, group: () => void, rest: () => void): void {
  const [fewer, done] = [new Label(), new Label()]
  a.cmp(count, size)
  a.jl(fewer)
  const next = a.here()
  group()
  a.sub(count, size)
  a.cmp(count, size)
  a.jge(next)
  a.bind(fewer)
  a.test(count, count)
  a.je(done)
  rest()
  a.bind(done)
}
