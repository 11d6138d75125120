import { Random } from '../../src/base/random.js'
import { int, ints } from '../../src/ir/attribute.js'
import type { Graph } from '../../src/ir/graph.js'
import type { Value } from '../../src/ir/node.js'
import { ArrayTensor, type Tensor } from '../../src/ir/tensor.js'
import { Net } from '../../src/nn/net.js'
import { Parameters } from '../../src/nn/parameters.js'
import { sizeOf } from '../../src/numbers/dtype.js'

/** Weights drawn when they are asked for, under whatever name. */
export class RandomParameters extends Parameters {
  constructor(readonly random: Random) {
    super(new Map())
  }

  override has(): boolean {
    return true
  }

  override get(name: string, shape: readonly number[]): Tensor {
    const deviation = shape.length > 1 ? 1 / Math.sqrt(shape[1]) : 0.2
    return new ArrayTensor('float32', shape, this.random.stream(name).normals(sizeOf(shape), deviation))
  }
}

export interface BlockForm {
  readonly attention: 'fused' | 'expanded'
  readonly projections: 'separate' | 'qkv'
  readonly feedForward: 'plain' | 'gated' | 'gate_up'
  readonly norm: 'before' | 'after'
  readonly bias: boolean
  /** How the mask meets the scores, where attention is expanded. */
  readonly mask: 'Add' | 'Where' | 'none'
}

export const usualForm: BlockForm = {
  attention: 'fused',
  projections: 'separate',
  feedForward: 'plain',
  norm: 'after',
  bias: true,
  mask: 'Add',
}

const [hidden, heads, headSize, inner] = [16, 4, 4, 24]

/** A graph of encoder blocks on [batch, tokens, 16] in any of the usual forms. */
export function encoderOf(form: Partial<BlockForm> = {}, layers = 2, seed = 1): Graph {
  const all = { ...usualForm, ...form }
  const net = new Net(undefined, new RandomParameters(new Random(seed, 'blocks')))
  let x = net.input('x', 'float32', ['batch', 'tokens', hidden])
  const padding = net.input('attention_mask', 'int64', ['batch', 'tokens'])
  const mask = net.op('Unsqueeze', [net.op('Cast', [padding], { to: int(9) }), net.ints([1, 2])])
  for (let i = 0; i < layers; i++) x = block(net.at(`layers.${i}`), x, mask, all)
  if (all.norm === 'before') x = norm(net.at('final'), x)
  net.output('y', x)
  return net.graph
}

function linear(net: Net, x: Value, inputs: number, outputs: number, bias: boolean): Value {
  const product = net.op('MatMul', [x, net.matrix('weight', inputs, outputs)])
  return bias ? net.op('Add', [product, net.parameter('bias', [outputs])]) : product
}

function norm(net: Net, x: Value): Value {
  return net.op('LayerNormalization', [x, net.parameter('weight', [hidden]), net.parameter('bias', [hidden])], { axis: int(-1) })
}

function block(net: Net, x: Value, mask: Value, form: BlockForm): Value {
  const before = form.norm === 'before'
  const attended = net.op('Add', [x, attention(net, before ? norm(net.at('first'), x) : x, mask, form)])
  const middle = before ? attended : norm(net.at('first'), attended)
  const sum = net.op('Add', [feedForward(net, before ? norm(net.at('second'), middle) : middle, form), middle])
  return before ? sum : norm(net.at('second'), sum)
}

function attention(net: Net, x: Value, mask: Value, form: BlockForm): Value {
  const parts =
    form.projections === 'separate'
      ? ['query', 'key', 'value'].map((name) => linear(net.at(name), x, hidden, hidden, form.bias))
      : net.ops('Split', [linear(net.at('projections'), x, hidden, 3 * hidden, form.bias), net.ints([hidden, hidden, hidden])], {
          attributes: { axis: int(-1) },
          outputs: ['query', 'key', 'value'],
        })
  const context = form.attention === 'fused' ? fusedAttention(net, parts, mask) : expandedAttention(net, parts, mask, form)
  return linear(net.at('out'), context, hidden, hidden, form.bias)
}

function fusedAttention(net: Net, parts: readonly Value[], mask: Value): Value {
  return net.op('Attention', [...parts, mask], { q_num_heads: int(heads), kv_num_heads: int(heads) })
}

function expandedAttention(net: Net, [query, key, value]: readonly Value[], mask: Value, form: BlockForm): Value {
  const split = (x: Value, perm: readonly number[]) =>
    net.op('Transpose', [net.op('Reshape', [x, net.ints([0, 0, heads, headSize])])], { perm: ints(perm) })
  const product = net.op('MatMul', [split(query, [0, 2, 1, 3]), split(key, [0, 2, 3, 1])])
  const scaled = net.op('Mul', [product, net.float(1 / Math.sqrt(headSize))])
  const low = net.float(-1e9)
  const scores =
    form.mask === 'Where'
      ? net.op('Where', [mask, scaled, low])
      : form.mask === 'Add'
        ? net.op('Add', [scaled, net.op('Where', [mask, net.float(0), low])])
        : scaled
  const context = net.op('MatMul', [net.op('Softmax', [scores], { axis: int(-1) }), split(value, [0, 2, 1, 3])])
  return net.op('Reshape', [net.op('Transpose', [context], { perm: ints([0, 2, 1, 3]) }), net.ints([0, 0, hidden])])
}

function feedForward(net: Net, x: Value, form: BlockForm): Value {
  const down = (value: Value) => linear(net.at('down'), value, inner, hidden, form.bias)
  if (form.feedForward === 'plain') return down(net.op('Gelu', [linear(net.at('up'), x, hidden, inner, form.bias)]))
  const [gate, up] =
    form.feedForward === 'gated'
      ? ['gate', 'up'].map((name) => linear(net.at(name), x, hidden, inner, form.bias))
      : net.ops('Split', [linear(net.at('gate_up'), x, hidden, 2 * inner, form.bias), net.ints([inner, inner])], {
          attributes: { axis: int(-1) },
          outputs: ['gate', 'up'],
        })
  return down(net.op('Mul', [net.op('Swish', [gate]), up]))
}
