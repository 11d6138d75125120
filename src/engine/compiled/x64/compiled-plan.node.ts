import { system } from '../../koffi.node.js'
import type { Plan } from '../plan/plan.js'
import type { ConstantMemory } from './constant-memory.node.js'
import { driver } from './driver.js'
import { processorFeatures } from './features.node.js'
import { returnMemorySoon } from './garbage.node.js'
import { linkedCode } from './linked-code.node.js'
import { type KernelCall, kernelAt, type MappedCode, mapCode } from './memory.node.js'
import { ParameterBlocks, type RunRows, ScratchLayout } from './parameter-blocks.js'
import type { PlacedKernel } from './placed-kernel.js'
import { type Amounts, amountOf, callsAlone, callsOfTeam, type ScheduledKernel } from './schedule.js'
import { barrier, type SystemFunctions, startTeam } from './team.js'

/** The list of each thread of a team. */
export type TeamCalls = readonly ParameterBlocks[]

/** A plan as machine code. */
export class CompiledPlan {
  readonly kernels: readonly string[]
  /** In the order in which they are called. */
  readonly placed: readonly ScheduledKernel[]
  /** Whether runs may keep last tokens only. */
  readonly keeps: boolean
  readonly scratch: ScratchLayout
  readonly alone: ParameterBlocks
  /** Runs a list of calls. */
  readonly driver: KernelCall
  readonly driverAddress: number
  /** Starts a thread of a team. */
  readonly start: KernelCall
  readonly functions: SystemFunctions
  readonly #code: MappedCode
  readonly #addresses: ReadonlyMap<string, number>
  readonly #teams = new Map<string, TeamCalls>()

  /**
   * @param placed in the order in which they are called
   * @param threads most threads of a team
   * @throws TinsmithError `unsupported` where the system forbids new code, `out-of-memory`
   */
  constructor(
    readonly plan: Plan,
    placed: readonly PlacedKernel[],
    readonly constants: ConstantMemory,
    readonly threads: number,
  ) {
    // Code is made here; functions that make it hold tables that steps share.
    this.placed = placed.map(({ code, ...scheduled }) => scheduled)
    this.keeps = plan.steps.some(({ kind }) => kind === 'keep')
    this.scratch = new ScratchLayout(placed, threads)
    this.alone = new ParameterBlocks(plan, callsAlone(placed), { part: 0, parts: 1 }, this.scratch)
    const codes = new Map<string, () => Uint8Array>([...Object.entries({ driver, startTeam, barrier }), ...codesOf(placed)])
    const { code, offsets } = linkedCode(codes, processorFeatures())
    this.#code = mapCode(code)
    const start = Number(this.#code.address)
    this.#addresses = new Map([...offsets].map(([key, offset]) => [key, start + offset]))
    this.kernels = placed.map(({ key }) => key.split(' ')[0])
    this.driverAddress = this.#addresses.get('driver')!
    this.driver = kernelAt(BigInt(this.driverAddress))
    this.start = kernelAt(BigInt(this.#addresses.get('startTeam')!))
    this.functions = systemFunctions()
    returnMemorySoon()
  }

  /** The address of a kernel's code. */
  readonly codeOf = (kernel: number | 'barrier'): number => this.#addresses.get(kernel === 'barrier' ? kernel : this.placed[kernel].key)!

  /** The lists of a team of so many threads for these numbers of rows. */
  teamCalls({ token, sequence, remaining }: RunRows, parts: number): TeamCalls {
    const [tokens, sequences, last] = [token, sequence, remaining].map((rows) => amountOf(rows, parts))
    const key = [parts, tokens, sequences, last].join(' ')
    const amounts: Amounts = { token: tokens, sequence: sequences, remaining: last }
    const calls =
      this.#teams.get(key) ??
      callsOfTeam(this.placed, { plan: this.plan, amounts, parts, functions: this.functions }).map(
        (list, part) => new ParameterBlocks(this.plan, list, { part, parts }, this.scratch),
      )
    this.#teams.set(key, calls)
    return calls
  }

  release(): void {
    this.#code.release()
    this.constants.release()
  }
}

/** The functions by which threads wait for each other. */
function systemFunctions(): SystemFunctions {
  const addressOf = (name: string) => Number(system().symbol(name))
  return { system: process.platform === 'linux' ? addressOf('syscall') : 0, yield: addressOf('sched_yield') }
}

function codesOf(kernels: readonly PlacedKernel[]): [string, () => Uint8Array][] {
  return kernels.map(({ key, code }) => [key, code])
}
