import { LazyTensor, type Tensor, transposed } from '../../../ir/tensor.js'
import type { WeightBlocks } from '../../../numbers/weight-blocks.js'
import { raised } from './block-tensor.js'
import type { LookupTable, Weight } from './steps.js'

/** The blocks of a constant matrix [inputs, outputs] that is quantized along its inputs already, exactly; undefined for others. */
export function presentBlocks(matrix: Tensor): Extract<Weight, { kind: 'blocks' }> | undefined {
  if (matrix.blockForm?.axis !== 0) return undefined
  const rows = transposed(matrix)
  const form = rows.blockForm!
  const [outputs, inputs] = rows.shape
  const bits = form.dtype === 'uint4' ? 4 : 8
  const shift = bits === 4 ? 0 : 128
  const shape = [outputs, inputs / form.blockSize]
  const source = new SharedBlocks(rows)
  return {
    kind: 'blocks',
    bits,
    block: form.blockSize,
    codes: new LazyTensor(bits === 4 ? 'uint4' : 'uint8', [outputs, inputs], () =>
      source.part('codes', ({ codes }) => (shift ? raised(codes as Int8Array, 8) : codes)),
    ),
    scale: new LazyTensor('float32', shape, () => source.part('scale', ({ scales }) => scales)),
    minimum: new LazyTensor('float32', shape, () =>
      source.part('minimum', ({ scales, minimums, zeroPoint }) =>
        scales.map((scale, i) => (minimums?.[i] ?? 0) - scale * (zeroPoint + shift)),
      ),
    ),
  }
}

/** The widest vectors that kernels look up at once. */
const vectorColumns = 16

/** A table whose rows are quantized in blocks of signed bytes already, exactly; undefined for others. */
export async function presentTable(table: Tensor): Promise<LookupTable | undefined> {
  const { blockForm: form } = table
  if (form?.axis !== 1 || form.dtype !== 'int8' || form.blockSize < vectorColumns || !Number.isInteger(Math.log2(form.blockSize)))
    return undefined
  const [rows, columns] = table.shape
  const source = new SharedBlocks(table)
  if (await source.part('minimum', ({ minimums, zeroPoint }) => minimums !== null || zeroPoint !== 0)) return undefined
  return {
    rows,
    columns,
    values: new LazyTensor('int8', [rows, columns], () => source.part('codes', ({ codes }) => codes)),
    scale: new LazyTensor('float32', [rows, columns / form.blockSize], () => source.part('scale', ({ scales }) => scales)),
  }
}

/** Blocks of a tensor, kept until each part of them has been taken. */
class SharedBlocks {
  #blocks: Promise<WeightBlocks | null> | undefined
  readonly #taken = new Set<string>()

  constructor(readonly tensor: Tensor) {}

  async part<T>(name: 'codes' | 'scale' | 'minimum', take: (blocks: WeightBlocks) => T): Promise<T> {
    this.#blocks ??= this.tensor.blocks()
    const blocks = await this.#blocks
    this.#taken.add(name)
    if (this.#taken.size === 3) {
      this.#blocks = undefined
      this.#taken.clear()
    }
    return take(blocks!)
  }
}
