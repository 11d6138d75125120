import type { Feeds } from '../engine/session.js'

/** One batch of unlabelled samples of equal length, so that nothing in it is padding. */
export interface CalibrationBatch {
  readonly feeds: Feeds
  /** 1 where a token is special ([CLS], [SEP], <s>), row major [batch, length]; means leave these out. */
  readonly special: Uint8Array
}

/** Unlabelled samples, ready to be fed. */
export interface Calibration {
  readonly batches: readonly CalibrationBatch[]
  readonly samples: number
  /** Where they come from, for reports. */
  readonly origin: string
  /** Content hash, part of cache keys. */
  readonly hash: string
}
