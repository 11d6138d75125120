import { beforeAll, describe, expect, it } from 'vitest'
import { openGraph } from '../../src/engine/open.js'
import type { Feeds } from '../../src/engine/session.js'
import type { Graph } from '../../src/ir/graph.js'
import type { Model } from '../../src/ir/model.js'
import { verify } from '../../src/ir/verify.js'
import { lower, type TargetName } from '../../src/lower/index.js'
import type { NDArray } from '../../src/numbers/dtype.js'
import { evaluateGraph } from '../../src/ops/evaluate.js'
import { importModel } from '../../src/raise/import.js'
import { raise } from '../../src/raise/index.js'
import { preset, presetNames } from '../../src/recipes/presets.js'
import { runRecipe } from '../../src/recipes/run.js'
import { smallModel, tinyBertModel, tinyLlamaModel } from '../support/checkpoints.js'
import { completed, goldens, reference } from '../support/goldens.js'
import { codes, farthest, probes, randomCalibration, runContext, throughFile, wholeText } from '../support/graphs.js'

const targets: readonly TargetName[] = ['ort-node', 'ort-wasm']
const recipes = ['fp32', ...presetNames] as const

interface Subject {
  readonly name: string
  open(): Promise<Model>
  feeds(graph: Graph): Promise<Feeds[]>
}

const subject = (name: string, build: () => Model): Subject => ({ name, open: async () => build(), feeds: async (graph) => probes(graph) })
const maskedLanguageModel = { architectures: ['BertForMaskedLM'] }

/** Tables large enough to be quantized, shared with the head or not; widths that no block divides; uneven heads. */
const invented: readonly Subject[] = [
  subject('masked language model with a shared table', () => tinyBertModel(1, { hidden: 32, vocabulary: 300 }, maskedLanguageModel)),
  subject('table of a ragged width, shared', () => tinyBertModel(2, { hidden: 24, inner: 40, vocabulary: 300 }, maskedLanguageModel)),
  subject('table of 1100 rows', () => tinyBertModel(3, { hidden: 32, vocabulary: 1100 })),
  subject('decoder with a shared table', () =>
    tinyLlamaModel(4, { hidden: 32, heads: 6, kvHeads: 3, headSize: 8, vocabulary: 1100, tied: true }),
  ),
  subject('decoder with one key head, ragged', () => tinyLlamaModel(5, { hidden: 24, heads: 3, kvHeads: 1, headSize: 8, vocabulary: 300 })),
  subject('classifier on the last token', () => smallModel('qwen3', 'Qwen3ForSequenceClassification', { num_labels: 3, vocab_size: 300 })),
  subject('decoder that sees a window', () =>
    smallModel(
      'qwen3',
      'Qwen3ForCausalLM',
      { use_sliding_window: true, sliding_window: 3, max_window_layers: 1, tie_word_embeddings: true },
      2,
    ),
  ),
  subject('GPT-2 without a cache, scores by layer', () => smallModel('gpt2', 'GPT2Model', { scale_attn_by_inverse_layer_idx: true })),
  subject('masked language model without token types', () => smallModel('distilbert', 'DistilBertForMaskedLM', { vocab_size: 300 })),
  subject('grey images', () => smallModel('vit', 'ViTModel')),
  subject('decoder with heads of 4, stretched positions', () =>
    tinyLlamaModel(6, { hidden: 32, layers: 1, vocabulary: 300 }, { hidden_act: 'gelu', rope_scaling: { rope_type: 'linear', factor: 2 } }),
  ),
]

const subjects: readonly Subject[] = [
  ...goldens().map(
    (golden): Subject => ({
      name: golden.name,
      open: async () => (await importModel(golden.folder)).model,
      feeds: async (graph) => [completed(graph, (await reference(golden)).inputs), ...probes(graph)],
    }),
  ),
  ...invented,
]

async function compressed({ open }: Subject, recipe: string): Promise<Model> {
  const model = await open()
  if (recipe === 'fp32') return model
  const parsed = await preset(recipe)
  const needed = parsed.steps.some(({ pass }) => pass.needs.calibration)
  const calibration = needed ? await randomCalibration(model.graph, Number(model.config?.['vocab_size'])) : null
  await runRecipe(model, parsed, runContext(calibration))
  return model
}

/** Eight-bit activations, by blocks or by tensor, flip codes where sums are rounded in another order. */
const engineTolerance = { fp32: 2e-5, fp16: 0.01, int4: 0.06, int8: 0.04, 'int8-static': 0.04, 'int8-dynamic': 0.03 }

describe('the law: lowering keeps what a graph computes, and raising gives the graph back', () => {
  describe.each(subjects)('$name', (each) => {
    describe.each(recipes)('%s', (recipe) => {
      let graph: Graph
      let feeds: Feeds[]
      let expected: Record<string, NDArray>[]
      beforeAll(async () => {
        graph = (await compressed(each, recipe)).graph
        feeds = await each.feeds(graph)
        expected = await Promise.all(feeds.map((feed) => evaluateGraph(graph, feed)))
      })

      it.each(targets)('%s', async (target) => {
        const before = await wholeText(graph)
        const lowered = lower(graph, target)
        verify(lowered)
        expect(await wholeText(graph), 'lower() must leave its argument alone').toBe(before)
        for (const [i, feed] of feeds.entries())
          expect(farthest(await evaluateGraph(lowered, feed), expected[i], feed.attention_mask)).toBeLessThanOrEqual(2e-5)
        const read = await throughFile(lowered)
        for (const raised of [lowered.clone(), read]) {
          raise(raised)
          verify(raised)
          if (target === 'ort-wasm' && recipe === 'int4') continue // Block codes become floats there, when a graph is loaded.
          expect(await wholeText(raised)).toBe(before)
          expect(await codes(raised)).toEqual(await codes(graph))
        }
      })

      it('the engine computes what the reference evaluation computes', async () => {
        const session = await openGraph(graph)
        for (const [i, feed] of feeds.entries())
          expect(farthest(await session.run(feed), expected[i], feed.attention_mask)).toBeLessThanOrEqual(engineTolerance[recipe])
        await session.dispose()
      })
    })
  })
})
