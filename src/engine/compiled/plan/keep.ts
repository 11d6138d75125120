import { type Step, type StepKind, type View, viewsRead, viewsWritten } from './steps.js'

/** Kinds of steps whose rows know nothing of each other. */
const rowWise: ReadonlySet<StepKind> = new Set(['linear', 'norm', 'quantize', 'activation', 'combine', 'length', 'largest'])

/**
 * Puts a step `keep` behind the last attention, at the first place where only one buffer is needed further on: what follows need not be
 * computed for tokens of a prompt but the last. Without such a place the steps stay as they are.
 */
export function withKeep(steps: readonly Step[], outputs: readonly View[]): readonly Step[] {
  const mixing = steps.findLastIndex(({ kind }) => !rowWise.has(kind))
  for (let at = mixing + 1; at < steps.length; at++) {
    const views = frontier(steps, at, outputs)
    if (views.length !== 1) continue
    const [view] = views
    return [
      ...steps.slice(0, at),
      { kind: 'keep', name: `${view.buffer.name}, last tokens`, input: view, output: view },
      ...steps.slice(at),
    ]
  }
  return steps
}

/** Whole buffers that steps from a place on, or outputs, read and that were written before. */
function frontier(steps: readonly Step[], at: number, outputs: readonly View[]): View[] {
  const written = new Set(steps.slice(at).flatMap((step) => viewsWritten(step).map(({ buffer }) => buffer)))
  const read = [...steps.slice(at).flatMap(viewsRead), ...outputs].filter(({ buffer }) => !written.has(buffer))
  return [...new Map(read.map((view) => [view.buffer, view])).values()]
}
