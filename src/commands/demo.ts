import { cacheFolder, environment, joinPath, pathKind, removeFolder } from '#platform'
import { TinsmithError } from '../base/errors.js'
import { cosineSimilarity } from '../numbers/metrics.js'
import type { Pipeline } from '../pipelines/index.js'
import type { Rate } from '../report/index.js'
import { compress } from './compress.js'
import type { CommandOptions } from './context.js'
import { demoSentences } from './demo-sentences.js'
import { load } from './load.js'
import { measureRates } from './measure.js'

/** A model's folder among test models, and its place on the hub. */
const [folderName, hubId] = ['all-MiniLM-L6-v2', 'sentence-transformers/all-MiniLM-L6-v2']

export interface DemoResult {
  readonly model: string
  readonly recipe: string
  readonly before: { readonly bytes: number; readonly rate: Rate }
  readonly after: { readonly bytes: number; readonly rate: Rate }
  /** Mean cosine of the vectors before and after. */
  readonly agreement: { readonly cosine: number }
  readonly example: { readonly query: string; readonly nearestBefore: string; readonly nearestAfter: string }
  /** That compressing took. */
  readonly seconds: number
}

/**
 * Compresses a small embedding model into a temporary folder and compares before and after.
 *
 * @throws TinsmithError `failed` when there is no model to show it with
 */
export async function demo(options: CommandOptions = {}): Promise<DemoResult> {
  const model = await findModel()
  const out = joinPath(cacheFolder(), 'demo')
  const start = performance.now()
  try {
    const result = await compressed(model, out, options)
    const seconds = (performance.now() - start) / 1e3
    const [before, after] = [await load(model), await load(out)]
    try {
      const [old, now] = await measureRates([before, after], samples, options)
      const [was, is] = [await before.embed(demoSentences), await after.embed(demoSentences)]
      const cosines = was.map((vector, i) => cosineSimilarity(vector, is[i]))
      return {
        model: folderName,
        recipe: result.recipe,
        before: { bytes: result.before.bytes, rate: old },
        after: { bytes: result.after.bytes, rate: now },
        agreement: { cosine: cosines.reduce((sum, cosine) => sum + cosine, 0) / cosines.length },
        example: await exampleOf(before, after),
        seconds,
      }
    } finally {
      for (const pipeline of [before, after]) await pipeline.dispose()
    }
  } finally {
    await removeFolder(out)
  }
}

const samples = demoSentences.map((text) => ({ texts: [text] }))

async function findModel(): Promise<string> {
  const home = environment('HOME') ?? environment('USERPROFILE')
  const places = [environment('TINSMITH_MODELS'), home && joinPath(home, '.cache', 'tinsmith', 'test-models')]
  for (const place of places) {
    const folder = place && joinPath(place, folderName)
    if (folder && (await pathKind(folder)) === 'folder') return folder
  }
  return hubId
}

async function compressed(model: string, out: string, options: CommandOptions) {
  try {
    return await compress(model, out, { ...options, recipe: 'int8', calibrate: demoSentences, force: true, fresh: true })
  } catch (error) {
    if (model !== hubId || !(error instanceof TinsmithError) || error.code === 'interrupted') throw error
    throw new TinsmithError(
      'failed',
      `there is no model to show: ${folderName} is neither in TINSMITH_MODELS nor in ~/.cache/tinsmith/test-models, and the hub did not give it`,
      {
        hint: error.sentence,
        cause: error,
      },
    )
  }
}

const query = 'Where can I leave my luggage?'

/** The sentence nearest to a query, by each model. */
async function exampleOf(before: Pipeline, after: Pipeline): Promise<DemoResult['example']> {
  const nearest = async (pipeline: Pipeline) => {
    const [asked, ...others] = await pipeline.embed([query, ...demoSentences])
    const cosines = others.map((vector) => cosineSimilarity(asked, vector))
    return demoSentences[cosines.indexOf(Math.max(...cosines))]
  }
  return { query, nearestBefore: await nearest(before), nearestAfter: await nearest(after) }
}
