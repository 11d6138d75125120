// Files of MiniLM for the peers: made once, kept in the system's temporary folder.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { writePlainOnnx } from './plain-onnx.mjs'
import { dataPath, measure, modelPath, readTable, root, tinsmith } from './support.mjs'

const kept = path.join(os.tmpdir(), 'tinsmith-bench-peers')
const source = modelPath('all-MiniLM-L6-v2')
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

const fusedFile = async () => path.join(await fp32Folder(), 'onnx/model.onnx')

/** Float32 in the standard's simpler operators, as exporters write it. */
export const plainFile = () => once('plain.onnx', (file) => writePlainOnnx(source, file))

/** Dynamic int8 by ONNX Runtime's tool, weights s8 per channel. */
export function onnxruntimeInt8({ file: python }) {
  return once('dynamic-s8.onnx', async (file) => measure(python, [script('quantize.py'), 'dynamic', await fusedFile(), file]))
}

/** The folder with what transformers.js calls q8: dynamic int8 by ONNX Runtime's tool, weights u8. */
export function transformersQ8({ file: python }) {
  return once('q8', async (folder) => {
    fs.cpSync(await fp32Folder(), folder, { recursive: true, filter: (file) => !file.endsWith('.onnx') })
    await measure(python, [script('quantize.py'), 'dynamic-u8', await fusedFile(), path.join(folder, 'onnx/model_quantized.onnx')])
  })
}

/** OpenVINO's int8 by NNCF: static, SmoothQuant, bias correction, calibrated on samples spread evenly over the training texts. */
export async function openvinoInt8({ file: python }) {
  const folder = await once('openvino-int8', async (folder) => {
    fs.mkdirSync(folder)
    const samples = path.join(folder, 'ids.json')
    fs.writeFileSync(samples, JSON.stringify(await calibrationIds()))
    await measure(python, [script('quantize_openvino.py'), await plainFile(), samples, path.join(folder, 'model.xml')])
  })
  return path.join(folder, 'model.xml')
}

async function calibrationIds() {
  const encode = await tokenIds()
  const texts = readTable(dataPath('stsb', 'train.csv')).flatMap((row) => row.slice(0, 2))
  return Array.from({ length: calibrationSamples }, (_, i) => encode(texts[Math.floor((i * texts.length) / calibrationSamples)]))
}

/** Text to token ids as the tokenizer of a folder has it, MiniLM's unless said. */
export async function tokenIds(folder = source, options = {}) {
  const { Tokenizer } = await import('@huggingface/tokenizers')
  const document = (name) => JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8'))
  const tokenizer = new Tokenizer(document('tokenizer.json'), document('tokenizer_config.json'))
  return (text) => tokenizer.encode(text, options).ids
}

const script = (name) => path.join(root, 'bench/python', name)
