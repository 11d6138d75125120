import type { Plan } from '../plan/plan.js'
import type { RowKind } from '../plan/steps.js'
import { type Member, teamOperations } from '../team.js'
import { type Call, Layout, type ListWord, RowScratch } from './layout.js'
import { callsAlone, callsOfTeam, type PlacedKernel } from './team.js'

/** Below so many rows for each thread, products are split by columns. */
const fewRows = 2

/** Which lists the threads run through: for one thread, and for a team. */
export class Lists {
  readonly alone: Layout
  readonly rowScratch: RowScratch
  readonly #teams = new Map<boolean, readonly Layout[]>()

  /**
   * @param parts threads of a team
   * @param barrier the function with which they wait for each other, where there are teams
   */
  constructor(
    private readonly plan: Plan,
    private readonly kernels: readonly PlacedKernel[],
    private readonly addresses: ReadonlyMap<ArrayBufferView, number>,
    private readonly parts: number,
    private readonly barrier: number | undefined,
  ) {
    const calls = callsAlone(kernels)
    this.rowScratch = new RowScratch(calls)
    this.alone = this.#layout(calls)
  }

  /** The lists of a team's threads for a run that has all threads for itself; none where one thread does it better. */
  together({ token }: Readonly<Record<RowKind, number>>): readonly Layout[] {
    if (this.barrier === undefined || this.parts < 2 || this.plan.operations * token < teamOperations) return []
    const few = token < fewRows * this.parts
    const words = (target: number): ListWord[] => [{ header: 'passed' }, target, { header: 'cancel' }]
    const team =
      this.#teams.get(few) ??
      callsOfTeam(this.kernels, this.plan, this.parts, few, { function: this.barrier, words }).map((calls, part) =>
        this.#layout(calls, { part, parts: this.parts }),
      )
    this.#teams.set(few, team)
    return team
  }

  #layout(calls: readonly Call[], member?: Member): Layout {
    return new Layout(this.plan, calls, this.addresses, this.rowScratch, member)
  }
}
