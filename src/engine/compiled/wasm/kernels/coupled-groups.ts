import { listMultiple } from '../../coupled-groups.js'
import type { FunctionBuilder, Local } from '../function.js'
import { i16x8, i32, i32x4, v128 } from '../values.js'

/** Adds the products of all `groups` to the sums [rows][vectors], as the panel's list says. `inputs` leads to the rows, `panel` to the list. */
export function emitCoupledProducts(
  f: FunctionBuilder,
  sums: readonly (readonly Local<'v128'>[])[],
  { inputs, panel, groups }: { readonly inputs: readonly Local<'i32'>[]; readonly panel: Local<'i32'>; readonly groups: Local<'i32'> },
): void {
  const vectors = sums[0].length
  const list = f.local('i32', panel)
  const left = f.local('i32', i32.load(list))
  const weights = f.local('i32', i32.add(panel, i32.and(i32.add(i32.shl(groups, 1), 4 + listMultiple - 1), -listMultiple)))
  const product = f.local('v128')
  const step = (count: 1 | 2) => {
    const offsets = Array.from({ length: count }, (_, i) => f.local('i32', i32.load16_u(list, 4 + 2 * i)))
    const activations = inputs.map((input) => offsets.map((offset) => f.local('v128', v128.load32_splat(i32.add(input, offset)))))
    for (let v = 0; v < vectors; v++) {
      const codes = offsets.map((_, i) => f.local('v128', v128.load(weights, 16 * (i * vectors + v))))
      for (const [row, factors] of activations.entries()) {
        const [first, ...others] = factors.map((factor, i) => i16x8.relaxed_dot_i8x16_i7x16_s(codes[i], factor))
        f.set(product, others.length ? i16x8.add(first, others[0]) : first)
        f.set(sums[row][v], i32x4.add(sums[row][v], i32x4.dot_i16x8_s(product, f.integers(0x10001))))
      }
    }
    f.add(list, 2 * count)
    f.add(weights, 16 * vectors * count)
    f.add(left, -1)
  }
  f.set(groups, i32.sub(groups, i32.shl(left, 1)))
  f.while(left, () => step(2))
  f.set(left, groups)
  f.while(left, () => step(1))
}
