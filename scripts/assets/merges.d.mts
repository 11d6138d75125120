export type Score = (pair: number, left: number, right: number, all: number) => number
export const scores: { readonly count: Score; readonly likelihood: Score }
export function learnMerges(
  words: Iterable<readonly [string, number]>,
  options: {
    readonly size?: number
    readonly mergeCount?: number
    readonly split: (word: string) => readonly string[]
    readonly join: (left: string, right: string) => string
    readonly score: Score
    readonly least?: number
  },
): { symbols: string[]; merges: [string, string][] }
