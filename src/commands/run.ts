import { openFile, pathKind } from '#platform'
import { badInput, unsupported } from '../base/errors.js'
import { readSamples } from '../data/index.js'
import type { Classification, Entity, Pipeline, PipelineKind } from '../pipelines/index.js'
import { type LoadOptions, loadModel } from './load.js'

export interface RunOptions extends LoadOptions {
  /** For models that write text. Default 128. */
  readonly maxNewTokens?: number
  /** Texts are messages of a conversation rather than beginnings. */
  readonly chat?: boolean
  readonly seed?: number
}

/** What a model makes of a text: what it is depends on the model. */
export interface TextResult {
  /** The path of the file, for models of images. */
  readonly text: string
  readonly vector?: readonly number[]
  readonly labels?: readonly Classification[]
  readonly entities?: readonly Entity[]
  readonly generated?: string
}

export interface RunResult {
  readonly kind: PipelineKind
  readonly dtype: string
  readonly engine: string
  readonly results: readonly TextResult[]
}

/**
 * Embeds or classifies texts, finds entities in them, goes on writing them, or classifies images: what the model is for.
 *
 * @param texts texts, or files with a text a line; image files
 * @throws TinsmithError `bad-input` when the model cannot be read or has no tokenizer; `unsupported` for what it is for
 * @example
 * (await run('all-MiniLM-L6-v2', ['A man is playing a flute.'])).results[0].vector
 */
export async function run(model: string, texts: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  if (!texts.length) throw badInput('there is no text', { hint: 'Give texts, or files with a text a line.' })
  const { pipeline, dtype, engine } = await loadModel(model, options)
  try {
    const given = pipeline.kind === 'classify-images' ? texts : (await Promise.all(texts.map(textsOf))).flat()
    return { kind: pipeline.kind, dtype, engine, results: await resultsOf(pipeline, given, options) }
  } finally {
    await pipeline.dispose()
  }
}

async function textsOf(text: string): Promise<string[]> {
  const isFile = text.length < 4096 && (await pathKind(text)) === 'file'
  return isFile ? (await readSamples(await openFile(text))).samples.flatMap((sample) => [...sample.texts]) : [text]
}

async function resultsOf(pipeline: Pipeline, texts: readonly string[], options: RunOptions): Promise<TextResult[]> {
  const { progress, signal } = options
  const stage = progress?.stage('running', texts.length)
  const each = { signal, onBatch: (done: number) => stage?.advance(done) }
  try {
    switch (pipeline.kind) {
      case 'embed':
        return (await pipeline.embed(texts, each)).map((vector, i) => ({ text: texts[i], vector: [...vector] }))
      case 'classify':
        return (await pipeline.classify(texts, each)).map((labels, i) => ({ text: texts[i], labels }))
      case 'classify-images':
        return (await pipeline.classifyImages(texts, each)).map((labels, i) => ({ text: texts[i], labels }))
      case 'classify-tokens':
        return (await pipeline.findEntities(texts, each)).map((entities, i) => ({ text: texts[i], entities }))
      case 'generate':
        return await generateAll(pipeline, texts, options)
    }
    throw unsupported(`running ${pipeline.kind} models is not there yet`, { where: pipeline.name })
  } finally {
    stage?.end()
  }
}

async function generateAll(
  pipeline: Pipeline,
  texts: readonly string[],
  { maxNewTokens, chat, seed, signal }: RunOptions,
): Promise<TextResult[]> {
  const results: TextResult[] = []
  for (const text of texts) {
    const prompt = chat ? [{ role: 'user', content: text }] : text
    results.push({ text, generated: await pipeline.generate(prompt, { maxNewTokens, seed, signal }) })
  }
  return results
}
