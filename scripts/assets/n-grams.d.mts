export class NGrams {
  constructor(ids: ArrayLike<number>, options: { readonly vocabulary: number; readonly order?: number })
  loss(ids: ArrayLike<number>, isScored: (at: number) => boolean, scale?: number): number
}
