import { buffersOverlap } from '../program.js'
import type { Plan } from './plan.js'
import { type Buffer, type View, viewsRead, viewsWritten } from './steps.js'

/**
 * Checks what every plan must keep: no step, and no output, reads columns that no step has written before, or whose memory another
 * buffer has taken since; and no step writes over what it reads, unless that is the same buffer.
 *
 * @throws Error naming the step and the buffer: such a plan is a mistake of the engine
 */
export function verifyPlan({ steps, outputs, memory }: Plan): void {
  const written = new Map<Buffer, View[]>()
  for (const step of steps) {
    const reads = viewsRead(step)
    for (const view of reads) requireWritten(view, written, `${step.kind} ${step.name}`)
    for (const view of viewsWritten(step)) {
      for (const other of written.keys()) {
        if (other === view.buffer || !buffersOverlap(memory, other, view.buffer)) continue
        if (reads.some(({ buffer }) => buffer === other))
          throw new Error(`${step.kind} ${step.name} writes over ${other.name}, which it reads`)
        written.delete(other)
      }
      written.set(view.buffer, [...(written.get(view.buffer) ?? []), view])
    }
  }
  for (const [name, view] of outputs) requireWritten(view, written, `The output ${name}`)
}

function requireWritten({ buffer, column, columns }: View, written: ReadonlyMap<Buffer, readonly View[]>, reader: string): void {
  let known = column
  for (const view of [...(written.get(buffer) ?? [])].sort((a, b) => a.column - b.column))
    if (view.column <= known) known = Math.max(known, view.column + view.columns)
  if (known < column + columns) throw new Error(`${reader} reads column ${known} of ${buffer.name}, which nothing has written`)
}
