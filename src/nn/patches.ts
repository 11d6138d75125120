import { ints } from '../ir/attribute.js'
import type { Value } from '../ir/node.js'
import type { Net } from './net.js'

/**
 * A token for each patch of an image, from left to right and from top to bottom: [batch, channels, height, width] to
 * [batch, patches, width]. The kernel `weight` is [width, channels, ...patch]; pixels that fill no patch are left out.
 */
export function patchTokens(net: Net, pixels: Value, channels: number, width: number, patch: readonly [number, number]): Value {
  const kernel = [net.parameter('weight', [width, channels, ...patch]), net.parameter('bias', [width])]
  const grid = net.op('Conv', [pixels, ...kernel], { kernel_shape: ints(patch), strides: ints(patch) })
  return net.op('Transpose', [net.op('Reshape', [grid, net.ints([0, width, -1])])], { perm: ints([0, 2, 1]) })
}
