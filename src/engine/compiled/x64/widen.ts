import { at, Label, r8q, r9, rcx, rdx, rsi, ymm } from './operands.js'
import { kernel, Parameters } from './parameters.js'

/**
 * `input`: u8 [rows, inputs], rows `inputStride` bytes apart; `output`: the same as u16, `outputStride` bytes apart.
 * Rows are read and written up to a multiple of 16 inputs.
 */
export const widenParameters = new Parameters(['input', 'inputStride', 'rows', 'inputs', 'output', 'outputStride'])

/** Code that widens bytes to words: activations for `avx2Words`. Called with `widenParameters`. */
export function widen(): Uint8Array {
  return kernel(0, (a) => {
    const p = widenParameters
    const [nextRow, next, done] = [new Label(), new Label(), new Label()]
    a.mov(rdx, p.at('rows'))
    a.test(rdx, rdx)
    a.je(done)
    a.mov(rsi, p.at('input'))
    a.mov(rcx, p.at('output'))
    a.mov(r9, p.at('inputs'))
    a.bind(nextRow)
    a.xor(r8q, r8q)
    a.bind(next)
    a.vpmovzxbw(ymm[0], at(rsi, 0, r8q))
    a.vmovdqu(at(rcx, 0, r8q, 2), ymm[0])
    a.add(r8q, 16)
    a.cmp(r8q, r9)
    a.jl(next)
    a.add(rsi, p.at('inputStride'))
    a.add(rcx, p.at('outputStride'))
    a.dec(rdx)
    a.jne(nextRow)
    a.bind(done)
  })
}
