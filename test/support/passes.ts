import type { Model } from '../../src/ir/model.js'
import { type PassResult, passes } from '../../src/passes/index.js'
import { passContext, randomCalibration } from './graphs.js'

/** Applies a pass by its name, with options as a recipe gives them, and calibration of random tokens where it needs some. */
export async function apply(model: Model, name: string, options: Record<string, unknown> = {}): Promise<PassResult> {
  const pass = passes.find((candidate) => candidate.name === name)!
  const calibration = pass.needs.calibration ? await randomCalibration(model.graph, Number(model.config?.['vocab_size'] ?? 16)) : null
  return pass.run(model, pass.options.parse(options), passContext(calibration))
}
