// Files of MiniLM for the peers: made once, kept in the system's temporary folder.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { calibrationFile, source } from './minilm.mjs'
import { writePlainOnnx } from './plain-onnx.mjs'
import { measure, root, tinsmith } from './support.mjs'

const kept = path.join(os.tmpdir(), 'tinsmith-bench-peers')
const calibrationSamples = 300

/** A file or folder that is there already, or what `make` puts at the path that it is given. */
async function once(name, make) {
  const place = path.join(kept, name)
  if (fs.existsSync(place)) return place
  const part = path.join(kept, `part-${process.pid}-${name}`)
  fs.mkdirSync(kept, { recursive: true })
  try {
    await make(part)
    fs.renameSync(part, place)
    return place
  } finally {
    fs.rmSync(part, { recursive: true, force: true })
  }
}

/** What a peer needs, or null with a sentence that it is left out. */
export async function orLeftOut(name, make) {
  try {
    return await make()
  } catch ({ message }) {
    console.error(`${name} is left out: ${message.split('\n')[0]}`)
    return null
  }
}

/** The folder that transformers.js loads, float32, in the operators that ONNX Runtime runs fastest. */
export const fp32Folder = () => once('fp32', (folder) => tinsmith('convert', source, folder))

/** Float32 in the standard's simpler operators, as exporters write it. */
export const plainFile = () => once('plain.onnx', (file) => writePlainOnnx(source, file))

/**
 * Our float32 model as ONNX Runtime's tool quantizes it, in a folder that transformers.js loads.
 *
 * @param kind `dynamic`: weights s8 per channel; `dynamic-u8`: what transformers.js calls q8; `static`: calibrated
 */
export function onnxruntimeFolder({ file: python }, kind) {
  return once(`onnxruntime-${kind}`, async (folder) => {
    const fp32 = await fp32Folder()
    fs.cpSync(fp32, folder, { recursive: true, filter: (file) => !file.endsWith('.onnx') })
    const isStatic = kind === 'static'
    const onnx = isStatic ? await plainFile() : onnxFile(fp32, 'fp32')
    const samples = isStatic ? [await calibrationFile(path.join(folder, 'ids.json'), calibrationSamples)] : []
    await measure(python, [script('quantize.py'), kind, onnx, onnxFile(folder), ...samples])
  })
}

/** The ONNX file that transformers.js loads from a folder. */
export const onnxFile = (folder, dtype = 'q8') => path.join(folder, 'onnx', dtype === 'fp32' ? 'model.onnx' : 'model_quantized.onnx')

/** OpenVINO's int8 by NNCF: static, SmoothQuant, bias correction, calibrated on samples spread evenly over the training texts. */
export async function openvinoInt8({ file: python }) {
  const folder = await once('openvino-int8', async (folder) => {
    fs.mkdirSync(folder)
    const samples = await calibrationFile(path.join(folder, 'ids.json'), calibrationSamples)
    await measure(python, [script('quantize_openvino.py'), await plainFile(), samples, path.join(folder, 'model.xml')])
  })
  return path.join(folder, 'model.xml')
}

const script = (name) => path.join(root, 'bench/python', name)
