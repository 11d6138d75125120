// node.mjs tinsmith|onnxruntime FOLDER JOBS.json THREADS: a contestant in Node.js.
import fs from 'node:fs'
import { answer } from '../answers.mjs'
import { actions, onnxruntime, tinsmith } from './encoders.mjs'

const [library, folder, jobs, threads] = process.argv.slice(2)
const opened = {
  tinsmith: () => tinsmith(folder, Number(threads)),
  onnxruntime: async () =>
    onnxruntime(await import('onnxruntime-web'), fs.readFileSync(`${folder}/onnx/model_quantized.onnx`), Number(threads)),
}
await answer(actions(JSON.parse(fs.readFileSync(jobs, 'utf8')), await opened[library]()))
