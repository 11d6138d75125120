import { dtypes, type NDArray, ndarray } from '../numbers/dtype.js'

/** One tokenized text or pair. */
export interface Encoded {
  readonly ids: readonly number[]
  /** 0 for the first text, 1 for the second. */
  readonly types: readonly number[]
  /** 1 for tokens that the model wants around texts ([CLS], [SEP], <s>), 0 for those of the text. */
  readonly special: readonly number[]
}

/** A padded batch: int64 arrays of shape [batch, length]. */
export interface Encoding {
  readonly input_ids: NDArray
  /** 1 for tokens, 0 for padding. */
  readonly attention_mask: NDArray
  readonly token_type_ids: NDArray
  /** 1 for special tokens and padding, 0 for tokens of the text; not a model's input but what statistics leave out. */
  readonly special_tokens_mask: NDArray
  /** Tokens of each row without padding. */
  readonly lengths: readonly number[]
  readonly side: PaddingSide
}

export type PaddingSide = 'left' | 'right'

export interface PadOptions {
  readonly padId?: number
  /** Default `right`. */
  readonly side?: PaddingSide
  /** Length of the rows; default the longest. */
  readonly length?: number
}

/**
 * Puts tokenized texts into one padded batch.
 *
 * @example
 * pad([{ ids: [7, 8], types: [0, 0], special: [0, 0] }], { length: 3 }).attention_mask.data // [1n, 1n, 0n]
 */
export function pad(rows: readonly Encoded[], { padId = 0, side = 'right', length }: PadOptions = {}): Encoding {
  const width = length ?? Math.max(0, ...rows.map((row) => row.ids.length))
  const filled = (values: (row: Encoded) => readonly number[], filler: number): NDArray => {
    const data = new Array<number>(rows.length * width).fill(filler)
    rows.forEach((row, r) => {
      const start = r * width + (side === 'left' ? width - row.ids.length : 0)
      values(row).forEach((value, i) => {
        data[start + i] = value
      })
    })
    return ndarray('int64', [rows.length, width], data)
  }
  return {
    input_ids: filled((row) => row.ids, padId),
    attention_mask: filled((row) => row.ids.map(() => 1), 0),
    token_type_ids: filled((row) => row.types, 0),
    special_tokens_mask: filled((row) => row.special, 1),
    lengths: rows.map((row) => row.ids.length),
    side,
  }
}

/** An integer array in another integer dtype; the same object where it has that already. */
export function toDType(array: NDArray, dtype: NDArray['dtype']): NDArray {
  if (array.dtype === dtype || dtypes[dtype].kind === 'string') return array
  return ndarray(dtype, array.shape, array.data as unknown as ArrayLike<number | bigint>)
}
