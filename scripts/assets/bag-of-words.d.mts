interface Sample {
  readonly words: readonly string[]
  readonly label: number
}
export function bagOfWords(
  splits: { readonly train: readonly Sample[]; readonly dev: readonly Sample[]; readonly test: readonly Sample[] },
  classes: number,
  options: { readonly penalties: readonly number[]; readonly epochs: number; readonly rate?: number; readonly least?: number },
): { penalty: number; epochs: number; dev: number; test: number; features: number }
