import { throwIfAborted } from '../base/errors.js'
import type { Progress } from '../base/progress.js'
import type { ImageSample, Sample, TextSample } from '../data/index.js'
import { type Pipeline, runBatches } from '../pipelines/index.js'
import type { Rate } from '../report/index.js'
import { tokenWindows, windowLogits } from '../tasks/index.js'

/** Times that each model is measured, in turn with the others. */
const rounds = 5
/** Texts and images of a round, and tokens of the text that a language model reads. */
const textsPerRound = 64
const imagesPerRound = 32
const tokensPerRound = 128

/**
 * The speed of models on the same samples: texts, images, or tokens for models that predict text, per second, tokenization and decoding included. They take turns and the median counts, so that the ratios hold even where the machine is shared.
 */
export async function measureRates(
  pipelines: readonly Pipeline[],
  samples: readonly Sample[],
  { progress, signal }: { readonly progress?: Progress; readonly signal?: AbortSignal } = {},
): Promise<Rate[]> {
  const workloads = pipelines.map((pipeline) => workloadOf(pipeline, samples, signal))
  const seconds: number[][] = pipelines.map(() => [])
  const stage = progress?.stage('measuring speed', (rounds + 1) * pipelines.length)
  try {
    for (let round = 0; round <= rounds; round++)
      for (const [i, workload] of workloads.entries()) {
        throwIfAborted(signal)
        const start = performance.now()
        await workload.run()
        if (round) seconds[i].push((performance.now() - start) / 1e3)
        stage?.advance()
      }
  } finally {
    stage?.end()
  }
  return workloads.map(({ units, unit }, i) => ({ value: units / median(seconds[i]), unit }))
}

interface Workload {
  readonly units: number
  readonly unit: Rate['unit']
  run(): Promise<void>
}

function workloadOf(pipeline: Pipeline, given: readonly Sample[], signal?: AbortSignal): Workload {
  if (pipeline.kind === 'classify-images') {
    const images = (given as readonly ImageSample[]).slice(0, imagesPerRound).map(({ image }) => image)
    return { units: images.length, unit: 'images/s', run: async () => void (await pipeline.classifyImageLogits(images, { signal })) }
  }
  const samples = given as readonly TextSample[]
  if (pipeline.kind === 'generate') {
    const [window] = tokenWindows(pipeline, samples, {
      tokens: tokensPerRound,
      window: Math.min(tokensPerRound, pipeline.tokenizer.maxLength),
    })
    return { units: window.length, unit: 'tokens/s', run: async () => (await windowLogits(pipeline, window, signal)).dispose() }
  }
  const texts = samples.flatMap((sample) => sample.texts).slice(0, textsPerRound)
  const [output] = pipeline.session.outputs
  return {
    units: texts.length,
    unit: 'texts/s',
    async run() {
      const encoded = texts.map((text) => pipeline.tokenizer.encodeOne(text))
      for await (const { output: result } of runBatches(pipeline, encoded, output.name, { signal })) void result.data
    },
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]
}
