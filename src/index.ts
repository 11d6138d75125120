export { openFolder } from '#platform'
export { type Anatomy, anatomyOf, type Block, type Embedding, type Linear, type Mixer, type Norm, type Role } from './anatomy/index.js'
export { BlobSource, type ByteSink, type ByteSource, type Folder, MemoryFolder, MemorySource, type WritableFolder } from './base/bytes.js'
export { type ErrorCode, type ErrorDetails, TinsmithError } from './base/errors.js'
export type { Image } from './base/image.js'
export { type Progress, SilentProgress, type Stage } from './base/progress.js'
export * from './commands/index.js'
export type { ImageFile, ImageSample, ImageSource, Sample, TextSample } from './data/index.js'
export { type OpenOptions, openGraph } from './engine/open.js'
export type {
  Feeds,
  LoadOptions as SessionOptions,
  OperatorTime,
  Output,
  Port,
  RunOptions as SessionRunOptions,
  Session,
  TokenSequence,
} from './engine/session.js'
export { type GradientOptions, gradient } from './grad/index.js'
export { type Config, type Dim, Graph, Model, Node, printGraph, printNode, Tensor, Value, verify } from './ir/index.js'
export { lower, type TargetName } from './lower/index.js'
export { type DType, type Elements, type NDArray, ndarray } from './numbers/dtype.js'
export { readOnnx, writeOnnx } from './onnx/index.js'
export { definePass, type Pass, type PassContext, type PassResult, passes, type Refusal } from './passes/index.js'
export {
  type Classification,
  type DTypeWord,
  type Entity,
  type GenerateOptions,
  ImageProcessor,
  type Message,
  Pipeline,
  type TextOrPair,
  Tokenizer,
} from './pipelines/index.js'
export { type Imported, importModel } from './raise/import.js'
export { raise } from './raise/index.js'
export { preset, presetNames } from './recipes/presets.js'
export { type RunContext, runRecipe, type StepReport } from './recipes/run.js'
export { parseRecipe, type Recipe, type RecipeStep } from './recipes/schema.js'
export type { MeasuredFigure, Rate, Report } from './report/index.js'
export { type TransformersJsOptions, type Written, writeTransformersJs } from './targets/index.js'
export { agreement, type Evaluation, type Task, tasks } from './tasks/index.js'
