/** What is known after a step. */
export interface StepRecord {
  readonly step: number
  readonly loss: number
  readonly gradientNorm: number
  readonly learningRate: number
  readonly seconds: number
  /** Bytes copied between this thread's memory and the engine's: 0 where the engine works in the same memory, as it does in Node.js. */
  readonly copiedBytes: number
}

/** What is known after an evaluation. */
export interface EvaluationRecord {
  readonly step: number
  readonly metrics: Readonly<Record<string, number>>
}

/** What a run found so far. */
export interface History {
  readonly steps: readonly StepRecord[]
  readonly evaluations: readonly EvaluationRecord[]
}

/** Figures of a step that differ from run to run. */
const unrepeatable = ['seconds', 'copiedBytes'] as const

/**
 * A line of JSON for each step, in order: its figures, and `metrics` where the model was measured after it.
 *
 * @param repeatable without times, so that the same run gives the same text
 */
export function formatHistory({ steps, evaluations }: History, { repeatable = false } = {}): string {
  const measured = new Map(evaluations.map(({ step, metrics }) => [step, metrics]))
  return steps
    .map((record) => {
      const figures = Object.entries(record).filter(([name]) => !(repeatable && (unrepeatable as readonly string[]).includes(name)))
      const metrics = measured.get(record.step)
      return `${JSON.stringify({ ...Object.fromEntries(figures), ...(metrics && { metrics }) })}\n`
    })
    .join('')
}

/** Reads what {@link formatHistory} wrote. */
export function parseHistory(text: string): History {
  const lines = text.split('\n').filter(Boolean)
  const records = lines.map((line) => JSON.parse(line) as StepRecord & Partial<Pick<EvaluationRecord, 'metrics'>>)
  return {
    steps: records.map(({ metrics: _, ...record }) => record),
    evaluations: records.flatMap(({ step, metrics }) => (metrics ? [{ step, metrics }] : [])),
  }
}
