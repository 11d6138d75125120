import { type StepOf, scaledColumns } from '../plan/steps.js'
import type { StepKernel, Word } from '../program.js'
import type { Assembler } from './assembler.js'
import { stepKernel, type X64Context } from './context.js'
import { at, eax, r8q, r11, r12, r13, r14, r15, rax, rbx, rcx, rsp } from './operands.js'
import { kernel, Parameters } from './parameters.js'
import { emitColumns, emitRows, emitStore, mayOverrun, rowPointer, rowWords } from './rows.js'
import { VectorConstants, type VectorMachine } from './vector-machine.js'

/** Lookups that one kernel does; more need several kernels. */
const mostLookups = 4

const lookupNames = ['numbers', 'table', 'lastRow', 'scale'] as const
type LookupName = `${(typeof lookupNames)[number]}${number}`

/**
 * `output`: float32 [rows, columns], `outputStride` in bytes. For each lookup: `numbers` int32 [rows], `table` float32 or int8
 * [lastRow + 1, columns], `scale` float32 [lastRow + 1, blocks of columns] of int8. A number beyond the last row counts as that.
 */
function parametersOf(count: number): Parameters<'rows' | 'output' | 'outputStride' | LookupName> {
  const lookups = Array.from({ length: count }, (_, i) => lookupNames.map((name): LookupName => `${name}${i}`))
  return new Parameters(['rows', 'output', 'outputStride', ...lookups.flat()])
}

/** What the code of an embedding depends on. */
export interface EmbedShape {
  readonly vectors: VectorMachine['name']
  readonly columns: number
  /** Four at most: float32, or int8 of which so many columns share a scale: all, or a power of two of whole vectors. */
  readonly tables: readonly ('float32' | number)[]
  /** Whether the rows are added to the output instead of written. */
  readonly accumulates: boolean
  /** Whether the last vector of a row may be written whole. */
  readonly overrun: boolean
}

/** Code of sums of tables' rows. Called with the parameters of as many lookups as there are tables. */
export function embed(machine: VectorMachine, { columns, tables, accumulates, overrun }: EmbedShape): Uint8Array {
  const p = parametersOf(tables.length)
  const constants = new VectorConstants(machine)
  const together = 4
  const sums = machine.registers.slice(0, together)
  const [temporary, ...rest] = machine.registers.slice(together)
  const scales = rest.slice(0, mostLookups)
  const rows = [r12, r13, r14, r15]
  const scaleRow = (i: number) => at(rsp, 8 * i)
  const emitLookup = (a: Assembler, kind: EmbedShape['tables'][number], i: number) => {
    a.mov(r11, p.at(`numbers${i}`))
    a.mov(eax, at(r11, 0, rbx, 4))
    a.mov(r11, p.at(`lastRow${i}`))
    a.cmp(rax, r11)
    a.cmovae(rax, r11)
    if (kind !== 'float32') {
      a.imul(r11, rax, 4 * (columns / kind))
      a.add(r11, p.at(`scale${i}`))
      if (kind === columns) a.vbroadcastss(scales[i], at(r11))
      else a.mov(scaleRow(i), r11)
    }
    a.imul(rows[i], rax, columns * (kind === 'float32' ? 4 : 1))
    a.add(rows[i], p.at(`table${i}`))
  }
  const emitScale = (a: Assembler, block: number, i: number, place: number) => {
    a.lea(rax, at(r8q, place * machine.lanes))
    a.shr(rax, Math.log2(block))
    a.mov(r11, scaleRow(i))
    a.vbroadcastss(scales[i], at(r11, 0, rax, 4))
  }
  const body = (a: Assembler) => {
    a.xor(rbx, rbx)
    emitRows(a, p.at('rows'), [rowPointer(p, 'output', rcx)], () => {
      for (const [i, kind] of tables.entries()) emitLookup(a, kind, i)
      emitColumns(a, machine, columns, together, (vectors) => {
        for (const { place, of, part } of vectors) {
          const sum = sums[place]
          if (accumulates) a.vmovups(sum, of(rcx))
          else a.vxorps(sum, sum, sum)
          for (const [i, kind] of tables.entries()) {
            if (kind === 'float32') a.vaddps(sum, sum, of(rows[i]))
            else {
              if (kind !== columns) emitScale(a, kind, i, place)
              a.vpmovsxbd(temporary, of(rows[i], 1))
              a.vcvtdq2ps(temporary, temporary)
              a.vfmadd231ps(sum, temporary, scales[i])
            }
          }
          emitStore(a, of(rcx), sum, overrun ? undefined : part, temporary, constants)
        }
      })
      a.inc(rbx)
    })
  }
  return kernel(8 * mostLookups, body, (a) => constants.place(a))
}

/** The kernels of an embedding. */
export async function embedKernels({ lookups, output }: StepOf<'embed'>, { vectors }: X64Context): Promise<StepKernel<Uint8Array>[]> {
  const kernels: StepKernel<Uint8Array>[] = []
  for (let first = 0; first < lookups.length; first += mostLookups) {
    const some = lookups.slice(first, first + mostLookups)
    const shape: EmbedShape = {
      vectors: vectors.name,
      columns: output.columns,
      tables: some.map(({ table }) => (table.scale ? scaledColumns(table) : 'float32')),
      accumulates: first > 0,
      overrun: mayOverrun(output, vectors.lanes),
    }
    const words: Record<LookupName, Word> = {}
    for (const [i, { table, numbers }] of some.entries()) {
      words[`numbers${i}`] = { address: numbers }
      words[`table${i}`] = { constant: (await table.values.read()) as Float32Array | Int8Array }
      words[`lastRow${i}`] = table.rows - 1
      words[`scale${i}`] = table.scale ? { constant: (await table.scale.read()) as Float32Array } : 0
    }
    kernels.push(
      stepKernel({
        name: 'embed',
        shape,
        code: () => embed(vectors, shape),
        parameters: parametersOf(some.length),
        words: { ...words, rows: { rows: output.buffer.per }, ...rowWords('output', output) },
      }),
    )
  }
  return kernels
}
