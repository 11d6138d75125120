import { badInput } from '../base/errors.js'
import { int } from '../ir/attribute.js'
import type { Value } from '../ir/node.js'
import { activation } from '../nn/activations.js'
import { layerNorm, linear } from '../nn/layers.js'
import { firstToken } from '../nn/masks.js'
import { Net } from '../nn/net.js'
import { patchTokens } from '../nn/patches.js'
import { type Architecture, type ConfigReader, classOf } from './architecture.js'

interface Shape {
  readonly hidden: number
  readonly heads: number
  readonly layers: number
  readonly inner: number
  readonly channels: number
  /** Height and width of images and of patches, in pixels. */
  readonly image: readonly [number, number]
  readonly patch: readonly [number, number]
  readonly epsilon: number
  readonly activation: string
  readonly qkvBias: boolean
}

function shapeOf(config: ConfigReader): Shape {
  const [hidden, heads] = [config.size('hidden_size'), config.size('num_attention_heads')]
  if (hidden % heads) throw badInput(`"hidden_size" ${hidden} is no multiple of "num_attention_heads" ${heads}`, { where: 'config.json' })
  const [image, patch] = [config.sides('image_size', 224), config.sides('patch_size', 16)]
  if (image.some((side, i) => side < patch[i]))
    throw badInput(`"image_size" ${image.join(' x ')} is smaller than "patch_size" ${patch.join(' x ')}`, { where: 'config.json' })
  return {
    hidden,
    heads,
    layers: config.size('num_hidden_layers'),
    inner: config.size('intermediate_size'),
    channels: config.size('num_channels', 3),
    image,
    patch,
    epsilon: config.number('layer_norm_eps', 1e-12),
    activation: config.text('hidden_act', 'gelu'),
    qkvBias: config.flag('qkv_bias', true),
  }
}

/** Patches behind the token of the class, and positions. */
function embeddings(net: Net, { hidden, channels, image, patch }: Shape, pixels: Value): Value {
  const patches = patchTokens(net.at('patch_embeddings.projection'), pixels, channels, hidden, patch)
  const batch = net.op('Shape', [pixels], { start: int(0), end: int(1) })
  const each = net.op('Concat', [batch, net.ints([1, 1])], { axis: int(0) })
  const first = net.op('Expand', [net.parameter('cls_token', [1, 1, hidden]), each])
  const tokens = net.op('Concat', [first, patches], { axis: int(1) })
  const count = 1 + Math.floor(image[0] / patch[0]) * Math.floor(image[1] / patch[1])
  return net.op('Add', [tokens, net.parameter('position_embeddings', [1, count, hidden])])
}

function layer(net: Net, shape: Shape, x: Value): Value {
  const { hidden, heads, inner, epsilon } = shape
  const before = layerNorm(net.at('layernorm_before'), x, hidden, epsilon)
  const self = net.at('attention.attention')
  const parts = ['query', 'key', 'value'].map((name) => linear(self.at(name), before, hidden, hidden, shape.qkvBias))
  const context = self.op('Attention', parts, { q_num_heads: int(heads), kv_num_heads: int(heads) })
  const middle = net.op('Add', [linear(net.at('attention.output.dense'), context, hidden, hidden, true), x])
  const up = linear(net.at('intermediate.dense'), layerNorm(net.at('layernorm_after'), middle, hidden, epsilon), hidden, inner, true)
  return net.op('Add', [
    linear(net.at('output.dense'), activation(net.at('intermediate'), shape.activation, up), inner, hidden, true),
    middle,
  ])
}

/** What stands on the encoder: its outputs by name. */
type Head = (net: Net, shape: Shape, hidden: Value, config: ConfigReader) => void

const heads: Readonly<Record<string, Head>> = {
  ViTModel(net, shape, hidden, config) {
    net.output('last_hidden_state', hidden)
    const pooler = net.base('vit').at('pooler')
    if (!pooler.has('dense.weight')) return
    const dense = linear(
      pooler.at('dense'),
      firstToken(pooler, hidden),
      shape.hidden,
      config.size('pooler_output_size', shape.hidden),
      true,
    )
    net.output('pooler_output', activation(pooler, config.text('pooler_act', 'tanh'), dense))
  },
  ViTForImageClassification(net, shape, hidden, config) {
    const head = net.at('classifier')
    net.output('logits', linear(head, firstToken(head, hidden), shape.hidden, config.labelCount, true))
  },
}

/** ViT (Dosovitskiy et al., 2020) on images of one size, of any number of channels. */
export const vit: Architecture = {
  type: 'vit',
  summary: 'encoders of images cut into patches, with LayerNorm before each branch: base with or without pooler, image classifier',
  source: 'An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, 2020',
  classes: Object.keys(heads),
  build({ config, parameters }) {
    const shape = shapeOf(config)
    const className = classOf(vit, config)
    const net = new Net(undefined, parameters)
    const pixels = net.input('pixel_values', 'float32', ['batch_size', shape.channels, ...shape.image])
    const base = net.base('vit')
    let hidden = embeddings(base.at('embeddings'), shape, pixels)
    for (let i = 0; i < shape.layers; i++) hidden = layer(base.at(`encoder.layer.${i}`), shape, hidden)
    heads[className](net, shape, layerNorm(base.at('layernorm'), hidden, shape.hidden, shape.epsilon), config)
    return new Map([['model', net.graph]])
  },
}
