interface WaitingCall {
  readonly limit: number
  readonly start: () => void
}

/**
 * Lets no more calls run at the same time than their limit says, all callers counted; first come, first served.
 *
 * @example
 * const queue = new CallQueue()
 * const end = await queue.begin(2)
 * end()
 */
export class CallQueue {
  #running = 0
  readonly #waiting: WaitingCall[] = []

  /** Waits until fewer than `limit` calls run, and gives what is to be called when this one has ended. */
  begin(limit: number): Promise<() => void> {
    return new Promise((resolve) => {
      this.#waiting.push({ limit, start: () => resolve(() => this.#end()) })
      this.#startNext()
    })
  }

  /** What is to be called when one more call than now has ended, where fewer than `limit` run and nobody waits; else null. */
  beginNow(limit: number): (() => void) | null {
    if (this.#waiting.length || this.#running >= limit) return null
    this.#running++
    return () => this.#end()
  }

  #startNext(): void {
    while (this.#waiting.length && this.#running < this.#waiting[0].limit) {
      this.#running++
      this.#waiting.shift()!.start()
    }
  }

  #end(): void {
    this.#running--
    this.#startNext()
  }
}
