import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Whether the disassembler of the GNU binutils is here. */
export function hasDisassembler(): boolean {
  try {
    execFileSync('objdump', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** The instructions that objdump reads in the code, in one spelling: single spaces, no comments, no note that VEX would do. */
export function disassemble(code: Uint8Array): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'tinsmith-disassembly-'))
  try {
    const file = join(folder, 'code.bin')
    writeFileSync(file, code)
    const options = ['-D', '-b', 'binary', '-m', 'i386:x86-64', '-M', 'intel', '--no-show-raw-insn', file]
    const text = execFileSync('objdump', options, { encoding: 'utf8', maxBuffer: 2 ** 28 })
    return text
      .split('\n')
      .filter((line) => /^\s*[0-9a-f]+:\t/.test(line))
      .map((line) =>
        line
          .replace(/^.*?:\t|#.*/g, '')
          .replace('{evex} ', '')
          .replace('BCST', 'BCAST')
          .trim()
          .replace(/\s+/g, ' '),
      )
  } finally {
    rmSync(folder, { recursive: true })
  }
}
