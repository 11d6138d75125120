export { type GradientOptions, gradient } from './gradient.js'
