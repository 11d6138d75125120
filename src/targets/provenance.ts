/** Where a written model comes from and what was done to it: what `tinsmith.json` holds, so that anyone can repeat it. */
export interface Provenance {
  readonly source: {
    /** Hub id, or name of the folder or file. */
    readonly name: string
    readonly files: readonly { readonly path: string; readonly bytes: number; readonly sha256: string }[]
  }
  /** Null for a plain conversion. */
  readonly recipe: { readonly name: string; readonly summary: string; readonly text: string; readonly changes: readonly string[] } | null
  /** Content of the calibration data, null without. */
  readonly calibration: { readonly origin: string; readonly samples: number; readonly hash: string } | null
  readonly seed: number
  readonly versions: Readonly<Record<string, string>>
  readonly figures: Figures
}

/** What it was and what it is now; nothing that differs from run to run, such as times. */
export interface Figures {
  readonly task?: string
  readonly samples?: number
  /** Metrics without any model, such as the majority class. */
  readonly baseline?: Readonly<Record<string, number>>
  readonly before: Figure
  readonly after: Figure
}

export interface Figure {
  /** Of the graph's files; the fp32 form's before. */
  readonly bytes: number
  readonly metrics: Readonly<Record<string, number>>
}
