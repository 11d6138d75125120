import { numbersOf } from '../numbers/dtype.js'
import { type BatchRunOptions, outputNamed, runBatches } from './batching.js'
import type { PipelineModel } from './pipeline-model.js'
import { pool } from './pooling.js'

/**
 * One vector a text, in the order of the texts: the graph's own `sentence_embedding` where it has one, else its token
 * vectors pooled as the model's folder says.
 *
 * @throws TinsmithError `bad-input` when the graph gives no vectors
 */
export async function embed(model: PipelineModel, texts: readonly string[], options: BatchRunOptions = {}): Promise<Float32Array[]> {
  const encoded = texts.map((text) => model.tokenizer.encodeOne(text))
  const vectors = new Array<Float32Array>(texts.length)
  const whole = model.session.outputs.some(({ name }) => name === 'sentence_embedding')
  const output = whole ? 'sentence_embedding' : outputNamed(model, 'embed', ['last_hidden_state', 'token_embeddings', 'logits'], 3)
  for await (const { rows, encoding, output: result } of runBatches(model, encoded, output, options)) {
    const pooled = whole ? rowsOf(result) : pool(result, encoding.attention_mask, model.pooling)
    rows.forEach((text, row) => {
      vectors[text] = pooled[row]
    })
  }
  return vectors
}

/** Copies of the rows of [rows, width]. */
export function rowsOf(array: Parameters<typeof numbersOf>[0] & { readonly shape: readonly number[] }): Float32Array[] {
  const [rows, width] = array.shape
  const data = numbersOf(array)
  return Array.from({ length: rows }, (_, row) => Float32Array.from(data.subarray(row * width, (row + 1) * width)))
}
