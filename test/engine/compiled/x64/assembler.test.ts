import { beforeAll, describe, expect, it } from 'vitest'
import { assembler, formsOf } from '../../../../src/engine/compiled/x64/assembler.js'
import { CodeWriter, fitOf } from '../../../../src/engine/compiled/x64/encode.js'
import { instructions, type Mnemonic } from '../../../../src/engine/compiled/x64/instructions.js'
import { at, Label, rax, rcx, rdi, rdx, rsi, ymm, zmm } from '../../../../src/engine/compiled/x64/operands.js'
import { disassemble, hasDisassembler } from './disassembly.js'
import { samplesOf } from './table.js'

describe.skipIf(!hasDisassembler())('every form of the table, read by objdump (skipped where binutils are absent)', () => {
  const writer = new CodeWriter()
  const expected = new Map<string, string[]>()
  for (const name of Object.keys(instructions) as Mnemonic[]) {
    const texts = formsOf(name).flatMap((form) =>
      samplesOf(name, form).map(({ operands, text }) => {
        const fit = fitOf(form, operands)
        if (fit) writer.write(fit, operands)
        return text.replace('LABEL', `0x${writer.length.toString(16)}`)
      }),
    )
    expected.set(name, texts)
  }
  let lines: string[] = []
  beforeAll(() => {
    lines = disassemble(writer.bytes())
  })

  it('takes up all of the code', () => {
    expect(lines.length).toBe([...expected.values()].flat().length)
  })

  it.each([...expected.keys()])('%s', (name) => {
    const texts = expected.get(name)!
    expect(texts.length).toBeGreaterThan(0)
    let start = 0
    for (const [other, before] of expected) {
      if (other === name) break
      start += before.length
    }
    expect(lines.slice(start, start + texts.length)).toEqual(texts)
  })
})

describe.skipIf(!hasDisassembler())('labels and choice of form, read by objdump', () => {
  it('jumps both ways, and constants beside the code', () => {
    const a = assembler()
    const end = new Label()
    const start = a.here()
    a.dec(rcx)
    a.jne(start)
    a.je(end)
    const table = new Label()
    a.vpaddd(ymm[1], ymm[2], at(table, 32))
    a.vpshufd(ymm[1], at(table), 0x1b)
    a.bind(end)
    a.ret()
    a.align(16)
    table.position = a.constants(Uint8Array.from({ length: 64 }, (_, i) => i)).position
    const code = a.code()
    expect(table.position % 64).toBe(0)
    expect([...code.subarray(table.position)]).toEqual(Array.from({ length: 64 }, (_, i) => i))
    const lines = disassemble(code.subarray(0, end.position + 1))
    const far = (distance: number, next: number) => `[rip+0x${(table.position + distance - next).toString(16)}]`
    expect(lines).toEqual([
      'dec rcx',
      'jne 0x0',
      `je 0x${end.position.toString(16)}`,
      `vpaddd ymm1,ymm2,YMMWORD PTR ${far(32, 23)}`,
      `vpshufd ymm1,YMMWORD PTR ${far(0, 32)},0x1b`,
      'ret',
    ])
  })

  it('takes the short form where it can', () => {
    const a = assembler()
    a.add(rax, 5)
    a.add(rax, 500)
    a.mov(rdx, 1)
    a.mov(rdx, 2n ** 40n)
    a.vpaddd(ymm[1], ymm[2], at(rsi))
    a.vpaddd(ymm[17], ymm[2], at(rsi))
    a.vpaddd(zmm[1], zmm[2], at(rsi).repeated())
    expect(disassemble(a.code())).toEqual([
      'add rax,0x5',
      'add rax,0x1f4',
      'mov rdx,0x1',
      'movabs rdx,0x10000000000',
      'vpaddd ymm1,ymm2,YMMWORD PTR [rsi]',
      'vpaddd ymm17,ymm2,YMMWORD PTR [rsi]',
      'vpaddd zmm1,zmm2,DWORD BCAST [rsi]',
    ])
    expect(a.length).toBe(4 + 7 + 7 + 10 + 4 + 6 + 6)
  })
})

describe('what no instruction can say', () => {
  it('is an error that names the instruction and its operands', () => {
    const a = assembler()
    expect(() => a.vpaddd(ymm[1], zmm[2], ymm[3])).toThrow('No form of vpaddd takes ymm1, zmm2, ymm3')
    expect(() => a.add(rdi, 2 ** 31)).toThrow('No form of add takes rdi, 2147483648')
    expect(() => a.vpand(ymm[17], ymm[2], ymm[3])).toThrow('vpand')
    a.jmp(new Label())
    expect(() => a.code()).toThrow('never bound')
  })
})
