import { beforeAll, describe, expect, it } from 'vitest'
import type { Local } from '../../../../src/engine/compiled/wasm/function.js'
import type { Form, ValueType } from '../../../../src/engine/compiled/wasm/instructions.js'
import { ModuleBuilder } from '../../../../src/engine/compiled/wasm/module.js'
import { forms, i32, instruction, select, type Value } from '../../../../src/engine/compiled/wasm/values.js'

/** The part of the disassembler that is used; the package has it as `wabt`. */
interface Disassembler {
  readWasm(
    bytes: Uint8Array,
    features: Readonly<Record<string, boolean>>,
  ): { applyNames(): void; toText(options: { foldExprs: boolean }): string }
}

const name = 'wabt'
const wabt = (await import(name).then(
  (module) => module.default(),
  () => undefined,
)) as Disassembler | undefined

const constants: Record<string, number | bigint | Uint8Array> = {
  i32: -129,
  i64: -(2n ** 40n),
  f32: 1.5,
  f64: -2.25,
  v128: Uint8Array.from({ length: 16 }, (_, i) => 17 * i),
}

/** Immediates for a form, and how a disassembler must print them. */
function samplesOf(form: Form): { given: (number | bigint | Uint8Array | readonly number[])[]; text: string }[] {
  const [first, second] = form.immediates
  if (!first) return [{ given: [], text: '' }]
  const lanes = (count: number) => [0, count - 1]
  if (first.kind === 'memory') {
    return [0, 1, 300].flatMap((offset) => {
      const memory = offset ? ` offset=${offset}` : ''
      return second
        ? lanes(second.size).map((lane) => ({ given: [offset, lane], text: `${memory} ${lane}` }))
        : [{ given: [offset], text: memory }]
    })
  }
  if (first.kind === 'lane') return lanes(first.size).map((lane) => ({ given: [lane], text: ` ${lane}` }))
  if (first.kind === 'lanes') {
    const order = Array.from({ length: 16 }, (_, i) => (i * 13) % 32)
    return [{ given: [order], text: ` ${order.join(' ')}` }]
  }
  const text = {
    i32: ' -129',
    i64: ' -1099511627776',
    f32: ' 0x1.8p+0',
    f64: ' -0x1.2p+1',
    v128: ' i32x4 0x33221100 0x77665544 0xbbaa9988 0xffeeddcc',
  }
  const type = form.result as ValueType
  return [{ given: [constants[type]], text: text[type] }]
}

/** A function that does nothing but the instruction. */
function moduleWith(form: Form, given: readonly (number | bigint | Uint8Array | readonly number[])[]): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder({ initial: 1, maximum: 2, shared: true })
  const results = form.result === 'none' ? [] : [form.result]
  module.export(
    'run',
    module.function('run', form.operands, results, (f) => {
      const value = instruction(form, [...f.parameters, ...given])
      if (results.length) f.return(value)
      else f.do(value as Value<'none'>)
    }),
  )
  return module.bytes()
}

const isRelaxed = (form: Form) => form.prefix === 0xfd && form.opcode >= 0x100
const runsRelaxed = WebAssembly.validate(moduleWith(forms.get('f32x4.relaxed_madd')!, []))

describe('every instruction of the table', () => {
  it.each([...forms].filter(([, form]) => runsRelaxed || !isRelaxed(form)))('%s is valid', (_, form) => {
    for (const { given } of samplesOf(form)) expect(WebAssembly.validate(moduleWith(form, given))).toBe(true)
  })
})

describe.skipIf(!wabt)('every instruction of the table, read by a disassembler (skipped without the package wabt)', () => {
  it.each([...forms])('%s', (mnemonic, form) => {
    for (const { given, text } of samplesOf(form)) {
      const module = wabt!.readWasm(moduleWith(form, given), { simd: true, relaxed_simd: true, threads: true, sat_float_to_int: true })
      const lines = module
        .toText({ foldExprs: false })
        .split('\n')

        .map((line) =>
          line
            .replace(/\(;.*?;\)/g, '')
            .replace(/\)+$/, '')
            .trim(),
        )
      expect(lines).toContain(mnemonic + text)
    }
  })
})

describe('structured control', () => {
  const run = async (module: ModuleBuilder) =>
    (await WebAssembly.instantiate(module.bytes())).instance.exports['run'] as (...given: number[]) => number
  let sum: (count: number) => number
  beforeAll(async () => {
    const module = new ModuleBuilder()
    const double = module.function('double', ['i32'], ['i32'], (f) => f.return(i32.shl(f.parameters[0] as Local<'i32'>, 1)))
    const reference = module.function('run', ['i32'], ['i32'], (f) => {
      const [end] = f.parameters as Local<'i32'>[]
      const [i, total] = f.localsOf('i32', 2)
      f.for(i, end, 1, () =>
        f.block((leave) => {
          leave(i32.eq(i, 3))
          f.if(
            i32.and(i, 1),
            () => f.add(total, f.call<'i32'>(double, [i])),
            () => f.add(total, 1),
          )
        }),
      )
      f.return(select(i32.lt_s(total, 100), total, i32.const(100)))
    })
    module.export('run', reference)
    sum = await run(module)
  })

  it('loops, leaves blocks, chooses and calls', () => {
    for (let end = 0; end < 20; end++) {
      let total = 0
      for (let i = 0; i < end; i++) if (i !== 3) total += i % 2 ? 2 * i : 1
      expect(sum(end)).toBe(Math.min(total, 100))
    }
  })

  it('writes integers of any size', async () => {
    for (const value of [0, 63, 64, -64, -65, 127, 128, 2 ** 31 - 1, -(2 ** 31)]) {
      const module = new ModuleBuilder()
      module.export(
        'run',
        module.function('run', [], ['i32'], (f) => f.return(i32.const(value))),
      )
      expect((await run(module))()).toBe(value)
    }
  })
})
