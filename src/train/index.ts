export { type Adapter, type AdapterOptions, adapterFrom, adapterNames, adapterOptions, onlyGroups } from './adapters/index.js'
export { BatchOrder } from './batches.js'
export { historyFile } from './checkpoint.js'
export type { ParameterGroup } from './groups.js'
export { type EvaluationRecord, formatHistory, type History, type StepRecord } from './history.js'
export type { Objective } from './objective.js'
export { type AdamWOptions, adamW } from './optimizers/adamw.js'
export { type OptimizerOptions, optimizerFrom, optimizerNames, optimizerOptions } from './optimizers/index.js'
export type { Optimizer } from './optimizers/optimizer.js'
export { ParameterStore } from './parameters.js'
export { type Schedule, type ScheduleName, type ScheduleOptions, schedule, scheduleNames } from './schedules.js'
export {
  type TrainedGroup,
  type TrainHooks,
  type TrainOptions,
  type TrainResult,
  train,
} from './trainer.js'
export { TrainingStep, type TrainingStepOptions } from './training-step.js'
