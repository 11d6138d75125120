import fs from 'node:fs'
import path from 'node:path'
import { openFile } from '#platform'
import type { Feeds } from '../../src/engine/session.js'
import { readSafetensors } from '../../src/formats/index.js'
import { evaluateDim } from '../../src/ir/dimension.js'
import type { Graph } from '../../src/ir/graph.js'
import { architectures } from '../../src/models/index.js'
import { type NDArray, ndarray, numbersOf, sizeOf } from '../../src/numbers/dtype.js'
import { sharedPath } from './shared.js'

/** A golden checkpoint with what the reference library computes from it. */
export interface Golden {
  readonly name: string
  readonly folder: string
}

/** The golden checkpoints whose architecture can be imported. */
export function goldens(): Golden[] {
  const root = sharedPath('golden')
  if (!root) return []
  const known = new Set(architectures.map((architecture) => architecture.type))
  return fs
    .readdirSync(root)
    .sort()
    .flatMap((name) => {
      const folder = path.join(root, name)
      const config = path.join(folder, 'config.json')
      const type = fs.existsSync(config) && (JSON.parse(fs.readFileSync(config, 'utf8')) as { model_type?: string }).model_type
      return type && known.has(type) ? [{ name, folder }] : []
    })
}

/** `in.*` and `out.*` of a golden checkpoint. */
export async function reference({ folder }: Golden): Promise<{ inputs: Feeds; outputs: Readonly<Record<string, NDArray>> }> {
  const { tensors } = await readSafetensors(await openFile(path.join(folder, 'reference.safetensors')))
  const group = async (prefix: string) =>
    Object.fromEntries(
      await Promise.all(
        [...tensors]
          .filter(([name]) => name.startsWith(prefix))
          .map(async ([name, tensor]) => [name.slice(prefix.length), await tensor.array()] as const),
      ),
    )
  return { inputs: await group('in.'), outputs: await group('out.') }
}

/** Feeds for all inputs of a graph: those given, positions from the mask or counted, empty caches, and zeros. */
export function completed(graph: Graph, given: Feeds): Feeds {
  const [batch, length] = given['input_ids']?.shape ?? [1, 1]
  const symbols = new Map([
    ['batch_size', batch],
    ['sequence_length', length],
    ['past_sequence_length', 0],
  ])
  const position = (i: number) => i % length
  return Object.fromEntries(
    graph.inputs.map((input) => {
      if (given[input.name]) return [input.name, given[input.name]]
      const shape = (input.shape ?? []).map((dim) => evaluateDim(dim, symbols) ?? 1)
      const value = input.name === 'position_ids' ? position : input.name === 'attention_mask' ? () => 1 : () => 0
      return [
        input.name,
        ndarray(
          input.dtype ?? 'float32',
          shape,
          Array.from({ length: sizeOf(shape) }, (_, i) => value(i)),
        ),
      ]
    }),
  )
}

/** The largest difference, infinite where there is a NaN; rows [batch, length, ...] whose own token is padding are left out. */
export function worst(got: NDArray, expected: NDArray, mask?: NDArray): number {
  if (got.shape.join() !== expected.shape.join()) throw new Error(`shape [${got.shape}] instead of [${expected.shape}]`)
  const rows = mask && expected.shape.length >= 3 && mask.shape[1] === expected.shape[1] ? numbersOf(mask) : null
  const width = sizeOf(expected.shape.slice(2))
  const [a, b] = [numbersOf(got), numbersOf(expected)]
  let most = 0
  for (let i = 0; i < b.length; i++) {
    if (rows && rows[Math.floor(i / width)] === 0) continue
    const error = Math.abs(a[i] - b[i])
    most = Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(most, error)
  }
  return most
}
