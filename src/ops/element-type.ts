import { badInput } from '../base/errors.js'
import type { DType } from '../numbers/dtype.js'
import { dtypeOf } from '../onnx/schema.js'

/**
 * The dtype that a number in an attribute (`to`, `stash_type`, `output_dtype`) stands for. Throws `bad-input` for others.
 *
 * @example
 * dtypeOfCode(10) // 'float16'
 */
export function dtypeOfCode(code: number): DType {
  const dtype = dtypeOf(code)
  if (!dtype) throw badInput(`${code} is no element type`)
  return dtype
}
