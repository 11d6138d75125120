import { system } from '../../koffi.node.js'
import type { PlanOutline } from '../plan/plan.js'
import type { ConstantMemory } from './constant-memory.node.js'
import { returnMemorySoon } from './garbage.node.js'
import type { LinkedCode } from './linked-code.node.js'
import { type KernelCall, kernelAt, type MappedCode, mapCode, viewMemory } from './memory.node.js'
import { ParameterBlocks, type RunRows, ScratchLayout } from './parameter-blocks.js'
import { type Amounts, amountOf, callsAlone, callsOfTeam, type ScheduledKernel } from './schedule.js'
import type { SystemFunctions } from './team.js'

/** The list of each thread of a team. */
export type TeamCalls = readonly ParameterBlocks[]

/** What a plan becomes. */
export interface CompiledKernels {
  /** In the order in which they are called. */
  readonly kernels: readonly ScheduledKernel[]
  /** Theirs, and that of `driver`, `startTeam` and `barrier`. */
  readonly code: LinkedCode
  readonly constants: ConstantMemory
}

/** A plan as machine code. */
export class CompiledPlan {
  /** Names of the kernels. */
  readonly kernels: readonly string[]
  readonly placed: readonly ScheduledKernel[]
  readonly constants: ConstantMemory
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
  readonly #offsets: ReadonlyMap<string, number>
  readonly #teams = new Map<string, TeamCalls>()

  /**
   * @param threads most threads of a team
   * @throws TinsmithError `unsupported` where the system forbids new code, `out-of-memory`
   */
  constructor(
    readonly plan: PlanOutline,
    { kernels, code, constants }: CompiledKernels,
    readonly threads: number,
  ) {
    this.placed = kernels
    this.constants = constants
    this.keeps = plan.steps.some(({ kind }) => kind === 'keep')
    this.scratch = new ScratchLayout(kernels, threads)
    this.alone = new ParameterBlocks(plan, callsAlone(kernels), { part: 0, parts: 1 }, this.scratch)
    try {
      this.#code = mapCode(code.code)
    } catch (error) {
      constants.release()
      throw error
    }
    this.#offsets = code.offsets
    this.kernels = kernels.map(({ key }) => key.split(' ')[0])
    this.driverAddress = this.#addressOf('driver')
    this.driver = kernelAt(BigInt(this.driverAddress))
    this.start = kernelAt(BigInt(this.#addressOf('startTeam')))
    this.functions = systemFunctions()
    returnMemorySoon()
  }

  /** The address of a kernel's code. */
  readonly codeOf = (kernel: number | 'barrier'): number => this.#addressOf(kernel === 'barrier' ? kernel : this.placed[kernel].key)

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

  /** The code as it was linked; valid until it is released. */
  linked(): LinkedCode {
    return { code: viewMemory(this.#code.address, this.#code.bytes), offsets: this.#offsets }
  }

  release(): void {
    this.#code.release()
    this.constants.release()
  }

  #addressOf(piece: string): number {
    return Number(this.#code.address) + this.#offsets.get(piece)!
  }
}

/** The functions by which threads wait for each other. */
function systemFunctions(): SystemFunctions {
  const addressOf = (name: string) => Number(system().symbol(name))
  return { system: process.platform === 'linux' ? addressOf('syscall') : 0, yield: addressOf('sched_yield') }
}
