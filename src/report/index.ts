export { reportHtml } from './page.js'
export type { MeasuredFigure, Rate, Report } from './report.js'
export { reportJson, writeReport } from './write.js'
