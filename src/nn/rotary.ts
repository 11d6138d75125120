import { badInput, unsupported } from '../base/errors.js'
import type { Value } from '../ir/node.js'
import { ArrayTensor } from '../ir/tensor.js'
import type { Net } from './net.js'

export interface RopeScaling {
  readonly type: string
  readonly factor: number
  readonly lowFrequencyFactor: number
  readonly highFrequencyFactor: number
  readonly originalPositions: number
  readonly betaFast: number
  readonly betaSlow: number
  readonly attentionFactor: number | undefined
}

/** Inverse frequencies [headSize / 2] in float32, as the reference library rounds them, and the factor on cosines and sines. */
export function rotaryFrequencies(
  headSize: number,
  theta: number,
  scaling: RopeScaling | null,
): { frequencies: Float32Array; attention: number } {
  const plain = Float32Array.from({ length: headSize / 2 }, (_, i) => 1 / Math.fround(theta ** Math.fround((2 * i) / headSize)))
  switch (scaling?.type ?? 'default') {
    case 'default':
      return { frequencies: plain, attention: 1 }
    case 'linear':
      return { frequencies: plain.map((f) => f / scaling!.factor), attention: 1 }
    case 'llama3':
      return { frequencies: plain.map((f) => llama3(f, scaling!)), attention: 1 }
    case 'yarn':
      return {
        frequencies: yarn(plain, headSize, theta, scaling!),
        attention: scaling!.attentionFactor ?? 0.1 * Math.log(Math.max(scaling!.factor, 1)) + 1,
      }
    default:
      throw unsupported(`rope scaling of type "${scaling!.type}" is not known`, {
        where: 'config.json',
        hint: 'Known: default, linear, llama3, yarn.',
      })
  }
}

/** Llama 3.1's scaling: long waves are stretched, short ones kept, those between interpolated. */
function llama3(frequency: number, scaling: RopeScaling): number {
  const wavelength = (2 * Math.PI) / frequency
  if (wavelength < scaling.originalPositions / scaling.highFrequencyFactor) return frequency
  if (wavelength > scaling.originalPositions / scaling.lowFrequencyFactor) return frequency / scaling.factor
  const smooth =
    (scaling.originalPositions / wavelength - scaling.lowFrequencyFactor) / (scaling.highFrequencyFactor - scaling.lowFrequencyFactor)
  return ((1 - smooth) * frequency) / scaling.factor + smooth * frequency
}

/** YaRN (Peng et al., 2023), "NTK-by-parts": interpolation below `betaSlow` turns, extrapolation above `betaFast`, a ramp between. */
function yarn(plain: Float32Array, headSize: number, theta: number, scaling: RopeScaling): Float32Array {
  const dimensionOf = (turns: number) => (headSize * Math.log(scaling.originalPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta))
  const low = Math.max(Math.floor(dimensionOf(scaling.betaFast)), 0)
  const high = Math.min(Math.ceil(dimensionOf(scaling.betaSlow)), headSize - 1)
  return plain.map((frequency, i) => {
    const ramp = Math.min(Math.max((i - low) / Math.max(high - low, 0.001), 0), 1)
    return (frequency / scaling.factor) * ramp + frequency * (1 - ramp)
  })
}

/** Numbers of a rotary table beyond which a configuration cannot be right: two million positions of heads of 128. */
const largestTable = 2 ** 27

/** Tables of cosines and sines [positions, headSize / 2], shared by all layers. */
export function rotaryTables(net: Net, positions: number, headSize: number, theta: number, scaling: RopeScaling | null): [Value, Value] {
  const { frequencies, attention } = rotaryFrequencies(headSize, theta, scaling)
  const half = frequencies.length
  if (positions * half > largestTable)
    throw badInput(`rotary tables for ${positions} positions would have ${positions * half} numbers`, {
      where: 'config.json',
      hint: 'Is "max_position_embeddings" right?',
    })
  const table = (f: (angle: number) => number) => {
    const data = new Float32Array(positions * half)
    for (let p = 0; p < positions; p++) for (let i = 0; i < half; i++) data[p * half + i] = f(Math.fround(p * frequencies[i])) * attention
    return new ArrayTensor('float32', [positions, half], data)
  }
  return [net.constant('rotary.cos', table(Math.cos)), net.constant('rotary.sin', table(Math.sin))]
}
