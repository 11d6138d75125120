import type { Report } from '../../src/report/index.js'

const linear = (layer: number) => `encoder.layer.${layer}.attention.output.dense`

/** A report with everything that a page can show. */
export const sample: Report = {
  model: { type: 'bert', parameters: 22_713_216 },
  dtype: 'q8',
  files: [
    { path: 'README.md', bytes: 1204 },
    { path: 'config.json', bytes: 612 },
    { path: 'onnx/model_quantized.onnx', bytes: 23_114_882 },
    { path: 'tokenizer.json', bytes: 466_247 },
  ],
  steps: [
    { pass: 'remove-unused', changed: 0, refused: [], seconds: 0.004, difference: undefined },
    { pass: 'fuse-qkv', changed: 6, refused: [], seconds: 1.34, difference: 4.1e-7 },
    {
      pass: 'static-int8',
      changed: 33,
      refused: [{ what: linear(3), why: 'the error of its output would be 0.21 of the output <more than 0.1>' }],
      seconds: 74.2,
      details: Array.from({ length: 6 }, (_, layer) => ({ linear: linear(layer), error: 0.0123 * (layer + 1), low: -3.25, high: 4.5 })),
    },
  ],
  before: { bytes: 90_405_214, metrics: { spearman: 86.72, pearson: 86.4, loss: 0.412 }, rate: { value: 625, unit: 'texts/s' } },
  after: { bytes: 23_114_882, metrics: { spearman: 86.61, pearson: 86.38, loss: 0.415 }, rate: { value: 1113, unit: 'texts/s' } },
  task: 'sts',
  samples: 1500,
  baseline: { loss: 1.2 },
  blocks: Array.from({ length: 6 }, (_, layer) => ({
    block: `encoder.layer.${layer}`,
    sqnr: layer ? 34 - 2 * layer : null,
    cosine: 1 - 0.0002 * layer,
  })),
  warnings: ['special_tokens_map.json is missing: the tokenizer does without it'],
  origin: {
    source: {
      name: 'sentence-transformers/all-MiniLM-L6-v2',
      files: [{ path: 'model.safetensors', bytes: 90_868_376, sha256: '53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db' }],
    },
    recipe: {
      name: 'int8',
      summary: '8-bit weights and activations with ranges from calibration data',
      text: 'name: int8\ndtype: q8\npasses:\n  - remove-unused\n  - fuse-qkv\n  - static-int8: { ranges: output }\n',
      changes: ['static-int8.samples=64'],
    },
    calibration: { origin: 'sentences.csv', samples: 256, hash: '0c1f' },
    seed: 0,
    versions: { tinsmith: '0.1.0', onnxruntime: '1.30.0', node: '20.20.2' },
  },
}
