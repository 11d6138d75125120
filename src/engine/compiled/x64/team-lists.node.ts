import { decisions } from '../team.js'
import { CallList } from './call-list.node.js'
import type { CompiledPlan, TeamCalls } from './compiled-plan.node.js'
import { called, type Mapped, mapMemory, viewMemory } from './memory.node.js'
import { type Region, type RunRows, writeWord } from './parameter-blocks.js'
import { sleepTime, startParameters, teamBytes } from './team.js'

/** The lists of the threads of a team, and what they share, in memory. */
export class TeamLists {
  readonly #lists: readonly CallList[]
  readonly #mapped: Mapped
  readonly #shared: Uint32Array
  readonly #starts: readonly number[]

  /**
   * @param alone the address of the list of all the work
   * @param patience ticks of the processor's clock that the first thread waits for the others
   * @throws TinsmithError `out-of-memory`
   */
  constructor(
    readonly compiled: CompiledPlan,
    calls: TeamCalls,
    alone: number,
    patience: number,
  ) {
    this.#lists = calls.map((blocks) => new CallList(blocks, compiled.codeOf))
    const startBytes = 8 * startParameters.names.length
    const bytes = teamBytes.all + startBytes * calls.length
    this.#mapped = mapMemory(bytes)
    const memory = viewMemory(this.#mapped.address, bytes)
    this.#shared = new Uint32Array(memory.buffer, memory.byteOffset, bytes / 4)
    writeWord(this.#shared, teamBytes.timeout / 8 + 1, sleepTime)
    const team = Number(this.#mapped.address)
    this.#starts = this.#lists.map((list, part) => {
      const values = {
        team,
        helpers: calls.length - 1,
        ticks: patience,
        share: list.address,
        alone: part ? 0 : alone,
        driver: compiled.driverAddress,
        ...compiled.functions,
      }
      const first = teamBytes.all + part * startBytes
      for (const [i, name] of startParameters.names.entries()) writeWord(this.#shared, first / 8 + i, values[name])
      return team + first
    })
  }

  /** @param addressOf where a thread has a region */
  prepare(run: string, rows: RunRows, addressOf: (region: Region, part: number) => number): void {
    for (const offset of [teamBytes.arrived, teamBytes.decision, teamBytes.passed]) writeWord(this.#shared, offset / 8, 0)
    for (const [part, list] of this.#lists.entries())
      list.prepare(run, rows, (region) => (region === 'team' ? Number(this.#mapped.address) : addressOf(region, part)))
  }

  cancel(): void {
    for (const list of this.#lists) list.cancel()
  }

  /** Runs the team. Results are there when the first thread has done all alone, or when all have done their shares. */
  call(): { readonly done: Promise<void>; readonly ended: Promise<unknown> } {
    // The first thread comes first, so that none that waits for it keeps it from the pool.
    const calls = this.#starts.map((start) => called(this.compiled.start, start))
    const ended = Promise.all(calls)
    const done = calls[0].then(() => (this.#shared[teamBytes.decision / 4] === decisions.shared ? ended.then(() => {}) : undefined))
    return { done, ended }
  }

  release(): void {
    for (const list of this.#lists) list.release()
    this.#mapped.release()
  }
}
