/** Mixers that carry a state from token to token. */
import { badInput } from '../base/errors.js'
import { type Dim, divideDims, multiplyDims, subtractDims } from '../ir/dimension.js'
import type { Node } from '../ir/node.js'
import { type NDArray, numbersOf } from '../numbers/dtype.js'
import { swish } from './activation.js'
import { type Heads, headsArray, headsOf, mergeHeads, toHeads } from './attention-core.js'
import { factsAt, type InputFacts, sameFacts } from './facts.js'
import * as gradients from './gradients/recurrence.js'
import { type Operator, operator, type ValueFacts } from './record.js'
import { arrayOf, required } from './support.js'

/** Which of decay and correction an update rule has. */
const updateRules: Readonly<Record<string, { readonly gated: boolean; readonly delta: boolean }>> = {
  linear: { gated: false, delta: false },
  gated: { gated: true, delta: false },
  delta: { gated: false, delta: true },
  gated_delta: { gated: true, delta: true },
}

function headCounts(node: Node): { queryHeads: number; kvHeads: number } {
  const [queryHeads, kvHeads] = [node.int('q_num_heads', 0), node.int('kv_num_heads', 0)]
  if (!(kvHeads > 0 && queryHeads > 0) || queryHeads % kvHeads)
    throw badInput(`${queryHeads} query heads are no multiple of ${kvHeads} key and value heads`)
  return { queryHeads, kvHeads }
}

function inferLinearAttention(node: Node, inputs: InputFacts): ValueFacts[] {
  const { queryHeads, kvHeads } = headCounts(node)
  const [query, value, state] = [factsAt(inputs, 0), factsAt(inputs, 2), inputs[3]]
  if (!query.shape || !value.shape) return [{ dtype: query.dtype, shape: null }, state ?? { dtype: query.dtype, shape: null }]
  const [keySize, valueSize] = [divideDims(query.shape[2], queryHeads), divideDims(value.shape[2], kvHeads)]
  const stateShape: Dim[] = [query.shape[0], kvHeads, keySize, valueSize]
  return [
    { dtype: query.dtype, shape: [query.shape[0], query.shape[1], multiplyDims(queryHeads, valueSize)] },
    { dtype: state ? state.dtype : query.dtype, shape: stateShape },
  ]
}

/** S <- exp(g) S; v <- beta (v - S^T k); S <- S + k v^T; o = scale q^T S, token by token. */
function evaluateLinearAttention(node: Node, inputs: readonly (NDArray | null)[]): NDArray[] {
  const { queryHeads, kvHeads } = headCounts(node)
  const name = node.string('update_rule', 'gated_delta')
  const rule = updateRules[name]
  if (!rule) throw badInput(`the update rule ${name} is none of ${Object.keys(updateRules).join(', ')}`)
  const [q, k, v] = [0, 1, 2].map((i) => required(inputs, i))
  const [past, decay, beta] = [3, 4, 5].map((i) => inputs[i] ?? null)
  if (rule.gated !== (decay !== null) || rule.delta !== (beta !== null))
    throw badInput(`the update rule ${name} does not go with ${decay ? 'a' : 'no'} decay and ${beta ? 'a' : 'no'} beta`)
  const [query, key, value] = [toHeads(q, queryHeads), toHeads(k, kvHeads), toHeads(v, kvHeads)]
  const [gate, rate] = [decay && toHeads(decay, kvHeads), beta && toHeads(beta, beta.shape[2] === 1 ? 1 : kvHeads)]
  const state = past ? toHeads(past) : headsOf(query.batch, kvHeads, query.size, value.size)
  const output = headsOf(query.batch, queryHeads, query.length, value.size)
  const scale = node.float('scale', 0) || 1 / Math.sqrt(query.size)
  const group = queryHeads / kvHeads
  for (let b = 0; b < query.batch; b++)
    for (let h = 0; h < kvHeads; h++) {
      const matrix = state.values.subarray((b * kvHeads + h) * query.size * value.size).subarray(0, query.size * value.size)
      for (let t = 0; t < query.length; t++) {
        const [keyRow, valueRow] = [rowOf(key, b, h, t), rowOf(value, b, h, t).slice()]
        if (gate) decayState(matrix, rowOf(gate, b, h, t))
        if (rate) correct(valueRow, matrix, keyRow, rowOf(rate, b, rate.heads === 1 ? 0 : h, t)[0])
        addOuterProduct(matrix, keyRow, valueRow)
        for (let g = h * group; g < (h + 1) * group; g++) {
          const read = transposedProduct(matrix, rowOf(query, b, g, t), value.size)
          rowOf(output, b, g, t).set(read.map((x) => scale * x))
        }
      }
    }
  return [mergeHeads(output, q.dtype), headsArray(state, past?.dtype ?? q.dtype)]
}

function rowOf(x: Heads, b: number, h: number, t: number): Float64Array {
  const start = ((b * x.heads + h) * x.length + t) * x.size
  return x.values.subarray(start, start + x.size)
}

function decayState(state: Float64Array, gate: Float64Array): void {
  const columns = gate.length === 1 ? state.length : state.length / gate.length
  for (let i = 0; i < state.length; i++) state[i] *= Math.exp(gate[Math.floor(i / columns)])
}

function correct(value: Float64Array, state: Float64Array, key: Float64Array, rate: number): void {
  const retrieved = transposedProduct(state, key, value.length)
  for (let m = 0; m < value.length; m++) value[m] = rate * (value[m] - retrieved[m])
}

function addOuterProduct(state: Float64Array, key: Float64Array, value: Float64Array): void {
  for (let d = 0; d < key.length; d++) for (let m = 0; m < value.length; m++) state[d * value.length + m] += key[d] * value[m]
}

/** state^T x for a state [x.length, columns]. */
function transposedProduct(state: Float64Array, x: Float64Array, columns: number): Float64Array {
  const result = new Float64Array(columns)
  for (let d = 0; d < x.length; d++) for (let m = 0; m < columns; m++) result[m] += x[d] * state[d * columns + m]
  return result
}

const linearAttention = operator({
  name: 'LinearAttention',
  since: 27,
  gradient: gradients.linearAttention,
  infer: inferLinearAttention,
  evaluate: evaluateLinearAttention,
})

const causalConvWithState = operator({
  name: 'CausalConvWithState',
  since: 27,
  gradient: gradients.causalConvWithState,
  infer: (_, inputs): ValueFacts[] => {
    const [{ dtype, shape }, weight] = [factsAt(inputs, 0), factsAt(inputs, 1).shape]
    return [sameFacts(inputs)[0], { dtype, shape: shape && weight && [shape[0], shape[1], subtractDims(weight[2], 1)] }]
  },
  evaluate: (node, inputs) => {
    const [x, weight] = [required(inputs, 0), required(inputs, 1)]
    const [bias, past] = [inputs[2] && numbersOf(inputs[2]), inputs[3] && numbersOf(inputs[3])]
    const activation = node.string('activation', 'none')
    if (!['none', 'silu', 'swish'].includes(activation)) throw badInput(`the activation ${activation} is none of none, silu, swish`)
    const activate = activation === 'none' ? (y: number) => y : swish(1)
    const [batch, channels, length] = x.shape
    const size = weight.shape[2]
    const [values, kernel, kept] = [numbersOf(x), numbersOf(weight), size - 1]
    const y = new Float64Array(values.length)
    const state = new Float64Array(batch * channels * kept)
    for (let row = 0; row < batch * channels; row++) {
      const channel = row % channels
      const before = past ? past.subarray(row * kept, (row + 1) * kept) : new Float64Array(kept)
      const padded = Float64Array.from([...before, ...values.subarray(row * length, (row + 1) * length)])
      for (let t = 0; t < length; t++) {
        let sum = bias?.[channel] ?? 0
        for (let i = 0; i < size; i++) sum += padded[t + i] * kernel[channel * size + i]
        y[row * length + t] = activate(sum)
      }
      state.set(padded.subarray(length), row * kept)
    }
    return [arrayOf(x.dtype, x.shape, y), arrayOf(x.dtype, [batch, channels, kept], state)]
  },
})

/** Recurrent mixers of the standard. */
export const recurrences: readonly Operator[] = [linearAttention, causalConvWithState]
