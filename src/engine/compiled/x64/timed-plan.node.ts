import type { OperatorTime } from '../../session.js'
import { CompiledPlan } from './compiled-plan.node.js'
import { driverWords } from './driver.js'
import { type KernelCall, kernelAt, viewMemory } from './memory.node.js'

/** A plan that keeps the time of each step: its kernels are called one by one, on this thread of JavaScript. */
export class TimedPlan extends CompiledPlan {
  readonly #milliseconds = new Float64Array(this.placed.length)
  #runs = 0

  override readonly driver: KernelCall = Object.assign((list: bigint | number) => this.#run(Number(list)), {
    async: (list: bigint | number, done: (error: unknown) => void) => {
      this.#run(Number(list))
      setImmediate(done, null)
    },
  })

  /** The time of each step over all runs, longest first. */
  times(): OperatorTime[] {
    const { steps } = this.plan
    const milliseconds = new Float64Array(steps.length)
    for (const [kernel, { step }] of this.placed.entries()) milliseconds[step] += this.#milliseconds[kernel]
    const times = steps.map(({ kind, name }, i) => ({ operator: kind, node: name, calls: this.#runs, milliseconds: milliseconds[i] }))
    return times.sort((a, b) => b.milliseconds - a.milliseconds)
  }

  #run(list: number): void {
    const { length } = this.placed
    const bytes = viewMemory(BigInt(list), 8 * (driverWords.calls + 2 * length))
    const words = new BigInt64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8)
    this.#runs++
    for (let i = 0; i < length; i++) {
      const [code, parameters] = words.subarray(driverWords.calls + 2 * i)
      const call = kernelAt(code)
      const start = performance.now()
      call(parameters)
      this.#milliseconds[i] += performance.now() - start
    }
  }
}
