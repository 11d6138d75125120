import { type Folder, readJson, type WritableFolder, writeFile } from '../base/bytes.js'
import { Cache, type KeyPart } from '../base/cache.js'
import { type ErrorCode, TinsmithError } from '../base/errors.js'
import { type Config, Model } from '../ir/model.js'
import { readOnnx, writeOnnx } from '../onnx/index.js'
import type { StepReport, StepStore } from './run.js'
import type { Recipe } from './schema.js'

/** What the result of a step depends on besides the steps up to it. */
export interface StepOrigin {
  /** Hash of the contents of the source's files. */
  readonly source: string
  /** Hash of the calibration data, null without. */
  readonly calibration: string | null
  readonly seed: number
  /** Hash of the code that runs. */
  readonly code: string
}

export interface StepStoreOptions {
  /** Default: `steps` in Tinsmith's cache folder. */
  readonly cache?: Cache
  /** Steps that took no longer are done again rather than kept. Default 2. */
  readonly leastSeconds?: number
  /** Told when a result cannot be kept, which stops nothing. */
  readonly warn?: (message: string) => void
}

/** What lies beside the graphs of a kept model. */
interface Kept {
  readonly graphs: readonly string[]
  readonly config: Config | null
  readonly reports: readonly StepReport[]
}

/**
 * Results of finished steps in the cache, as ONNX in canonical form: a killed run goes on where it was.
 *
 * @example
 * const store = new CachedSteps({ source, calibration: calibration?.hash ?? null, seed: 0, code })
 * await runRecipe(model, recipe, { ...context, store })
 */
export class CachedSteps implements StepStore {
  readonly #origin: StepOrigin
  readonly #cache: Cache
  readonly #leastSeconds: number
  readonly #warn: (message: string) => void

  constructor(origin: StepOrigin, options: StepStoreOptions = {}) {
    this.#origin = origin
    this.#cache = options.cache ?? new Cache('steps')
    this.#leastSeconds = options.leastSeconds ?? 2
    this.#warn = options.warn ?? (() => {})
  }

  async load(recipe: Recipe, index: number): Promise<{ model: Model; reports: readonly StepReport[] } | null> {
    const folder = await this.#cache.get(await this.#key(recipe, index))
    return folder && readKept(folder).catch(nothingFor('bad-input'))
  }

  async save(recipe: Recipe, index: number, model: Model, reports: readonly StepReport[]): Promise<void> {
    if (reports[index].seconds < this.#leastSeconds) return
    const kept = await this.#cache
      .put(await this.#key(recipe, index), (folder) => writeKept(folder, model, reports))
      .catch(nothingFor('cannot-write', 'failed'))
    if (!kept) this.#warn(`finished steps cannot be kept in ${this.#cache.path}, so a killed run begins anew`)
  }

  #key(recipe: Recipe, index: number): Promise<string> {
    const steps = recipe.steps.slice(0, index + 1).map(({ pass, options }) => ({ pass: pass.name, options: JSON.stringify(options) }))
    const origin: KeyPart = { ...this.#origin }
    return this.#cache.key({ origin, steps })
  }
}

/** Null in place of errors of some kinds: doing without is right then. */
function nothingFor(...codes: readonly ErrorCode[]): (error: unknown) => null {
  return (error) => {
    if (error instanceof TinsmithError && codes.includes(error.code)) return null
    throw error
  }
}

async function writeKept(folder: WritableFolder, model: Model, reports: readonly StepReport[]): Promise<void> {
  for (const [name, graph] of model.graphs)
    await writeOnnx(graph, await folder.create(`${name}.onnx`), {
      functions: model.functions.values(),
      externalData: { file: (location) => folder.create(location), basename: `${name}.onnx_data` },
    })
  const kept: Kept = { graphs: [...model.graphs.keys()], config: model.config, reports }
  await writeFile(folder, 'kept.json', JSON.stringify(kept))
}

async function readKept(folder: Folder): Promise<{ model: Model; reports: readonly StepReport[] }> {
  const { graphs, config, reports } = (await readJson(folder, 'kept.json')) as Kept
  const model = new Model([], { config })
  for (const name of graphs) {
    const read = await readOnnx(await folder.open(`${name}.onnx`), { name, external: (location) => folder.open(location) })
    for (const [key, graph] of read.graphs) model.graphs.set(key, graph)
  }
  return { model, reports }
}
