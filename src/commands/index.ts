export { type ConvertOptions, type ConvertResult, convert } from './convert.js'
export type { CommandOptions } from './context.js'
