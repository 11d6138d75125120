// MiniLM as an ONNX file of the standard's simpler operators with all shapes noted, as exporters write it: onnxruntime's static quantization
// stops at fused operators.
import fs from 'node:fs'
import { importModel, passes, writeOnnx } from 'tinsmith'
import { addOperatorNames } from '../dist/ir/module-names.js'
import { inferShapes } from '../dist/ops/infer.js'

export async function writePlainOnnx(source, file) {
  const { model } = await importModel(source)
  await passes.find(({ name }) => name === 'expand-attention').run(model, {}, {})
  addOperatorNames(model.graph)
  inferShapes(model.graph)
  const descriptor = fs.openSync(file, 'w')
  const sink = { write: async (bytes) => void fs.writeSync(descriptor, bytes), close: async () => fs.closeSync(descriptor) }
  await writeOnnx(model.graph, sink, { opset: 21 })
  return file
}
