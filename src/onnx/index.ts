export type { OpenExternal } from './external.js'
export { inlineFunctions } from './functions.js'
export { type ReadOptions, readOnnx } from './read.js'
export { readTensorProto } from './tensor-proto.js'
export {
  type ExternalConstant,
  type ExternalData,
  encodeOnnx,
  onnxBytes,
  type SplitOnnx,
  splitOnnx,
  type WriteOptions,
  writeOnnx,
} from './write.js'
