import type { Session } from '../engine/session.js'
import type { Config } from '../ir/index.js'
import type { ImageProcessor } from './image-processor.js'
import type { Pooling } from './pooling.js'
import type { Tokenizer } from './tokenizer.js'

/** What the verbs of a pipeline see of it. Reading `tokenizer` or `imageProcessor` throws where the model has none. */
export interface PipelineModel {
  /** For messages. */
  readonly name: string
  readonly session: Session
  readonly tokenizer: Tokenizer
  readonly imageProcessor: ImageProcessor
  readonly config: Config
  readonly generationConfig: Config
  readonly pooling: Pooling
}
