/** Gradients of normalizations. With z the normalized input and r the inverse deviation: `dx = r (dz - mean(dz) - z mean(dz z))`. */
import { int } from '../../ir/attribute.js'
import type { Node, Value } from '../../ir/node.js'
import { normalizeAxes, normalizeAxis, range } from '../support.js'
import type { Expansion, GradientBuilder, GradientRule } from './rule.js'
import {
  add,
  axesOnwards,
  castLike,
  divide,
  integers,
  meanOver,
  multiply,
  reshape,
  reshapeLike,
  scalar,
  shapeOf,
  sizeAlong,
  sizes,
  slice,
  subtract,
  sumTo,
  unsqueeze,
} from './terms.js'

function normalizedAxes(node: Node): number[] {
  const x = node.inputs[0]!
  return axesOnwards(normalizeAxis(node.int('axis', -1), shapeOf(x).length), x)
}

/** r (dz - [mean(dz)] - z mean(dz z)) */
function throughStandardization(g: GradientBuilder, dz: Value, z: Value, inverse: Value, axes: readonly number[], centred: boolean): Value {
  const aligned = multiply(g, z, meanOver(g, multiply(g, dz, z), axes))
  const rest = subtract(g, dz, centred ? add(g, aligned, meanOver(g, dz, axes)) : aligned)
  return multiply(g, rest, inverse)
}

/** What arrives at the outputs Mean and InvStdDev: `(dMean - dInvStdDev r^2 z) / n`. */
function throughStatistics(g: GradientBuilder, dMean: Value | null, dInverse: Value | null, x: Value, z: Value, inverse: Value): Value[] {
  const share = (gradient: Value): Value => divide(g, gradient, divide(g, sizeLike(g, x, x), sizeLike(g, inverse, x)))
  const byMean = dMean && share(castLike(g, dMean, x))
  const byInverse = dInverse && share(multiply(g, castLike(g, dInverse, x), multiply(g, inverse, inverse)))
  return [byMean, byInverse && multiply(g, z, multiply(g, byInverse, -1))].filter((part) => part !== null)
}

/** How many elements a value has, in the dtype of `like`. */
function sizeLike(g: GradientBuilder, value: Value, like: Value): Value {
  const shape = shapeOf(value)
  if (shape.every((dim) => typeof dim === 'number'))
    return scalar(
      g,
      shape.reduce((a, b) => a * b, 1),
      like,
    )
  return castLike(g, g.op('Size', [value]), like)
}

export const layerNormalizationGradient: GradientRule = (node, [dy, dMean, dInverse], g) => {
  const [x, scale, bias] = [node.inputs[0]!, node.inputs[1]!, node.input(2)]
  const [mean, inverse] = [castLike(g, g.output(node, 1), x), castLike(g, g.output(node, 2), x)]
  const z = multiply(g, subtract(g, x, mean), inverse)
  const parts = throughStatistics(g, dMean ?? null, dInverse ?? null, x, z, inverse)
  if (dy) parts.unshift(throughStandardization(g, multiply(g, dy, scale), z, inverse, normalizedAxes(node), true))
  const dx = parts.reduce((sum, part) => add(g, sum, part))
  return [dx, dy && sumTo(g, multiply(g, dy, z), scale), dy && bias && sumTo(g, dy, bias)]
}

/** 1 / sqrt(mean(x^2) + epsilon) */
function inverseRootMeanSquare(g: GradientBuilder, x: Value, axes: readonly number[], epsilon: number): Value {
  const power = add(g, meanOver(g, multiply(g, x, x), axes), epsilon)
  return divide(g, scalar(g, 1, x), g.op('Sqrt', [power]))
}

export const rmsNormalizationGradient: GradientRule = (node, [dy], g) => {
  const [x, scale] = [node.inputs[0]!, node.inputs[1]!]
  const axes = normalizedAxes(node)
  const inverse = inverseRootMeanSquare(g, x, axes, node.float('epsilon', 1e-5))
  const z = multiply(g, x, inverse)
  return [throughStandardization(g, multiply(g, dy!, scale), z, inverse, axes, false), sumTo(g, multiply(g, dy!, z), scale)]
}

/** ONNX Runtime's name for RMSNormalization, which gives the inverse deviation too. */
export const simplifiedLayerNormalization: Expansion = {
  expand(node, g) {
    const [x, scale] = [node.inputs[0]!, node.inputs[1]!]
    const inverse = inverseRootMeanSquare(g, x, normalizedAxes(node), node.float('epsilon', 1e-5))
    return [multiply(g, castLike(g, multiply(g, x, inverse), scale), scale), asDeclared(g, inverse, node.outputs[1])]
  },
}

/** In the dtype that the output of a node has. */
export function asDeclared(g: GradientBuilder, x: Value, output: Value | undefined): Value {
  return output?.dtype ? castLike(g, x, output) : x
}

/** The mean over some axes, and the variance. */
function momentsOf(g: GradientBuilder, x: Value, axes: readonly number[]): { centred: Value; mean: Value; variance: Value } {
  const mean = meanOver(g, x, axes)
  const centred = subtract(g, x, mean)
  return { centred, mean, variance: meanOver(g, multiply(g, centred, centred), axes) }
}

function deviation(g: GradientBuilder, variance: Value, epsilon: number): Value {
  return g.op('Sqrt', [add(g, variance, epsilon)])
}

/** A vector with one element for each channel, so that it broadcasts over [samples, channels, ...]. */
function perChannel(g: GradientBuilder, vector: Value, like: Value): Value {
  const space = range(Math.max(shapeOf(like).length - 2, 0), (axis) => axis + 1)
  return space.length ? unsqueeze(g, vector, ...space) : vector
}

function scaledPerChannel(g: GradientBuilder, z: Value, scale: Value, bias: Value): Value {
  return add(g, multiply(g, z, perChannel(g, scale, z)), perChannel(g, bias, z))
}

export const groupNormalization: Expansion = {
  expand(node, g) {
    const [x, scale, bias] = node.inputs as Value[]
    const groups = reshape(g, x, sizes(g, [sizeAlong(g, x, 0), node.int('num_groups', 1), -1]))
    groups.shape ??= [shapeOf(x)[0], node.int('num_groups', 1), `${x.name}_group`]
    const { centred, variance } = momentsOf(g, groups, [2])
    const z = divide(g, centred, deviation(g, variance, node.float('epsilon', 1e-5)))
    return [scaledPerChannel(g, reshapeLike(g, z, x), scale, bias)]
  },
}

export const instanceNormalization: Expansion = {
  expand(node, g) {
    const [x, scale, bias] = node.inputs as Value[]
    const { centred, variance } = momentsOf(g, x, axesOnwards(2, x))
    return [scaledPerChannel(g, divide(g, centred, deviation(g, variance, node.float('epsilon', 1e-5))), scale, bias)]
  },
}

/** By the running statistics, or by those of the batch, which then change the running ones. */
export const batchNormalization: Expansion = {
  expand(node, g) {
    const [x, scale, bias, mean, variance] = node.inputs as Value[]
    const epsilon = node.float('epsilon', 1e-5)
    if (!node.int('training_mode', 0)) {
      const centred = subtract(g, x, perChannel(g, mean, x))
      return [scaledPerChannel(g, divide(g, centred, perChannel(g, deviation(g, variance, epsilon), x)), scale, bias)]
    }
    const axes = [0, ...axesOnwards(2, x)]
    const batch = momentsOf(g, x, axes)
    const momentum = node.float('momentum', 0.9)
    const running = (old: Value, current: Value): Value => {
      const vector = castLike(g, reshape(g, current, integers(g, [-1]), mean.shape), old)
      return add(g, multiply(g, old, momentum), multiply(g, vector, 1 - momentum))
    }
    const z = divide(g, batch.centred, deviation(g, batch.variance, epsilon))
    return [scaledPerChannel(g, z, scale, bias), running(mean, batch.mean), running(variance, batch.variance)]
  },
}

/** x / norm, and 0 where the norm is. */
export const lpNormalization: Expansion = {
  expand(node, g) {
    const x = node.inputs[0]!
    const axes = integers(g, [normalizeAxis(node.int('axis', -1), shapeOf(x).length)])
    const norm = g.op(node.int('p', 2) === 1 ? 'ReduceL1' : 'ReduceL2', [x, axes], { keepdims: int(1) })
    return [divide(g, x, g.op('Where', [g.op('Equal', [norm, scalar(g, 0, x)]), scalar(g, 1, x), norm]))]
  },
}

export const meanVarianceNormalization: Expansion = {
  expand(node, g) {
    const x = node.inputs[0]!
    const { centred, variance } = momentsOf(g, x, normalizeAxes(node.ints('axes') ?? [0, 2, 3], shapeOf(x).length))
    return [divide(g, centred, add(g, g.op('Sqrt', [variance]), 1e-9))]
  },
}

/** The squares of neighbouring channels are summed up as slices of a padded array. */
export const localResponseNormalization: Expansion = {
  expand(node, g) {
    const [x, size] = [node.inputs[0]!, node.int('size', 1)]
    const pads = [Math.floor((size - 1) / 2), Math.ceil((size - 1) / 2)]
    const padded = g.op('Pad', [multiply(g, x, x), integers(g, pads), null, integers(g, [1])])
    const neighbours = range(size, (i) => slice(g, padded, 1, i, i - size + 1 || undefined))
    for (const value of neighbours) value.shape = x.shape
    const squares = neighbours.length > 1 ? g.op('Sum', neighbours) : neighbours[0]
    const base = add(g, multiply(g, squares, node.float('alpha', 1e-4) / size), node.float('bias', 1))
    return [divide(g, x, g.op('Pow', [base, scalar(g, node.float('beta', 0.75), x)]))]
  },
}

/** The sum of input, skip and bias. */
function skipSum(g: GradientBuilder, node: Node, bias: Value | null): Value {
  const sum = add(g, node.inputs[0]!, node.inputs[1]!)
  return bias ? add(g, sum, bias) : sum
}

/** A LayerNormalization of `x` whose statistics are kept in float32, or in float64 for float64. */
export function layerNormalized(g: GradientBuilder, x: Value, scale: Value, bias: Value | null, epsilon: number): readonly Value[] {
  return g.ops('LayerNormalization', [x, scale, bias], 3, {
    epsilon: { kind: 'float', value: epsilon },
    stash_type: int(x.dtype === 'float64' ? 11 : 1),
  })
}

export const skipLayerNormalization: Expansion = {
  expand(node, g) {
    const sum = skipSum(g, node, node.input(4))
    const [y, mean, inverse] = layerNormalized(g, sum, node.inputs[2]!, node.input(3), node.float('epsilon', 1e-12))
    return [y, asDeclared(g, mean, node.outputs[1]), asDeclared(g, inverse, node.outputs[2]), sum]
  },
}

export const skipSimplifiedLayerNormalization: Expansion = {
  expand(node, g) {
    const sum = skipSum(g, node, node.input(3))
    const inverse = inverseRootMeanSquare(g, sum, [shapeOf(sum).length - 1], node.float('epsilon', 1e-12))
    const statistics = asDeclared(g, inverse, node.outputs[2])
    return [multiply(g, multiply(g, sum, inverse), node.inputs[2]!), subtract(g, statistics, statistics), statistics, sum]
  },
}
