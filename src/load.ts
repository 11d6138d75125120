/** What running a model needs and no more, for programs that shall start fast: the same as `tinsmith` exports. */
export { openFolder } from '#platform'
export { type ErrorCode, TinsmithError } from './base/errors.js'
export { type EngineName, type LoadedModel, type LoadOptions, load, loadModel } from './commands/load.js'
export type { Classification, DTypeWord, Entity, GenerateOptions, Message, Pipeline, TextOrPair, Tokenizer } from './pipelines/index.js'
