export { reportHtml } from './page.js'
export type { BlockFigure, MeasuredFigure, Rate, Report } from './report.js'
export { type TrainingReport, trainingHtml, writeTrainingReport } from './training.js'
export { reportJson, writeReport } from './write.js'
