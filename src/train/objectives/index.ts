export { type BlockValues, blocksOf, type LayerMap, uniformLayers } from './blocks.js'
export { causalLanguageModel, type PackOptions, packWindows } from './causal-language-model.js'
export { type ClassificationOptions, classification } from './classification.js'
export { type DistillationOptions, type DistillationTerm, distillation, type TeacherAndStudent, type TermFactory } from './distillation.js'
export {
  type AttentionOptions,
  fromAttention,
  fromHiddenStates,
  fromLogits,
  fromRelations,
  type HiddenStatesOptions,
  type LogitsOptions,
  type RelationPair,
  type RelationsOptions,
} from './distillation-terms.js'
export { type ImageClassificationOptions, imageClassification } from './image-classification.js'
export { classNames, severalClasses } from './labels.js'
export { type MaskedLanguageModelOptions, maskedLanguageModel } from './masked-language-model.js'
export type { MaskingUnit } from './masking.js'
export { type SelfDistillationOptions, selfDistillation } from './self-distillation.js'
export {
  type CoSentOptions,
  type CosineRegressionOptions,
  coSent,
  cosineRegression,
  type MultipleNegativesRankingOptions,
  multipleNegativesRanking,
} from './sentence-pairs.js'
export { textBatches } from './text-batches.js'
export type { TextModel, TokenWindow } from './text-inputs.js'
export { tokenClassification } from './token-classification.js'
export { type Weighted, weightedSum } from './weighted-sum.js'
