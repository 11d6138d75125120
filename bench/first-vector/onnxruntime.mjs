// First vector of a ready ONNX file: onnxruntime-node and a tokenizer, nothing else. onnxruntime.mjs FOLDER TEXT [FILE]
import { readFileSync } from 'node:fs'
import { Tokenizer } from '@huggingface/tokenizers'
import { InferenceSession, Tensor } from 'onnxruntime-node'

const [folder, text, file = 'model.onnx'] = process.argv.slice(2)
const document = (name) => JSON.parse(readFileSync(`${folder}/${name}`, 'utf8'))
const tokenizer = new Tokenizer(document('tokenizer.json'), document('tokenizer_config.json'))
const session = await InferenceSession.create(`${folder}/onnx/${file}`)
const { ids } = tokenizer.encode(text)
const int64 = (values) => new Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length])
const feeds = { input_ids: int64(ids), attention_mask: int64(ids.map(() => 1)), token_type_ids: int64(ids.map(() => 0)) }
const { last_hidden_state: hidden } = await session.run(feeds, ['last_hidden_state'])
const width = hidden.dims[2]
const sum = Array.from({ length: width }, (_, i) => ids.reduce((total, _, row) => total + hidden.data[row * width + i], 0))
const length = Math.hypot(...sum)
process.stdout.write(JSON.stringify(sum.map((value) => value / length)), () => process.exit(0))
