import { didYouMean, unsupported } from '../base/errors.js'
import { float, string } from '../ir/attribute.js'
import type { Value } from '../ir/node.js'
import type { Net } from './net.js'

type Activation = (net: Net, x: Value) => Value

const tanhGelu: Activation = (net, x) => net.op('Gelu', [x], { approximate: string('tanh') })
const silu: Activation = (net, x) => net.op('Swish', [x])

/** Activations by the names that config.json uses for them (`hidden_act`). */
const activations: Readonly<Record<string, Activation>> = {
  gelu: (net, x) => net.op('Gelu', [x]),
  gelu_new: tanhGelu,
  gelu_fast: tanhGelu,
  gelu_pytorch_tanh: tanhGelu,
  quick_gelu: (net, x) => net.op('Swish', [x], { alpha: float(1.702) }),
  relu: (net, x) => net.op('Relu', [x]),
  silu,
  swish: silu,
  tanh: (net, x) => net.op('Tanh', [x]),
  sigmoid: (net, x) => net.op('Sigmoid', [x]),
  mish: (net, x) => net.op('Mish', [x]),
}

/** @throws TinsmithError `unsupported` for an activation that is not known, naming the nearest */
export function activation(net: Net, name: string, x: Value): Value {
  const build = activations[name]
  if (!Object.hasOwn(activations, name))
    throw unsupported(`the activation "${name}" is not known`, { where: 'config.json', hint: didYouMean(name, Object.keys(activations)) })
  return build(net, x)
}
