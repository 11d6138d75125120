import type { Model } from '../ir/model.js'
import { fileBytes } from '../targets/graph-files.js'
import type { Figure } from '../targets/provenance.js'
import { versions } from './build.js'

/** Bytes of a model's graphs as they would be written before anything is done to them. */
export async function fp32Figure(model: Model): Promise<Figure> {
  const { tinsmith: version } = await versions()
  return { bytes: await fileBytes(model, { dtype: 'fp32', version }), metrics: {} }
}
