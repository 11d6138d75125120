export { fileBytes, type GraphFile, type GraphFileOptions, MeasuringFolder, writeGraphFiles } from './graph-files.js'
export type { Figure, Figures, Provenance } from './provenance.js'
export { loadFile, readBack } from './read-back.js'
export { type TransformersJsOptions, type Written, writeTransformersJs } from './transformersjs.js'

/** A runtime that files are written for. */
export interface Target {
  readonly name: string
  readonly summary: string
  readonly source: string
}

/** All targets. */
export const targets: readonly Target[] = [
  {
    name: 'transformers.js',
    summary: 'A folder that transformers.js and ONNX Runtime load: onnx/model{suffix}.onnx, configuration, tokenizer',
    source: 'https://huggingface.co/docs/transformers.js',
  },
]
