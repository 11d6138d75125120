export { type CacheAction, type CacheResult, cache } from './cache.js'
export { type ComparedModel, type CompareOptions, type CompareResult, compare } from './compare.js'
export { type CompressOptions, type CompressResult, compress } from './compress.js'
export { conformance } from './conformance.js'
export type { CommandOptions } from './context.js'
export { type ConvertOptions, type ConvertResult, convert } from './convert.js'
export { type DemoForm, type DemoModel, type DemoRecipe, type DemoResult, demo } from './demo.js'
export { type EvaluateOptions, type EvaluateResult, evaluate, type Measured } from './evaluate.js'
export {
  type InspectedBlock,
  type InspectedGraph,
  type InspectedLinear,
  type InspectOptions,
  type InspectResult,
  inspect,
} from './inspect.js'
export { type Listed, type ListKind, list } from './list.js'
export { type EngineName, type LoadOptions, load } from './load.js'
export { type RunOptions, type RunResult, run, type TextResult } from './run.js'
export { type TrainCommandOptions, type TrainResult, train } from './train.js'
