import { getHeapStatistics } from 'node:v8'
import { system } from '../../koffi.node.js'

/** From the last load to the collection: whoever loads has let go of files and graphs by then. */
const restMilliseconds = 1000

/** V8 frees arrays on another thread, after it has collected them. */
const sweepMilliseconds = 200

let rest: NodeJS.Timeout | undefined

/**
 * Gives the system back, a second after the last call, what loading has left behind: V8 collects what nobody holds, without regard for how
 * small its heap is beside the arrays outside of it, and the C library returns what it holds for arrays that are gone. Keeps no process
 * from ending.
 */
export function returnMemorySoon(): void {
  clearTimeout(rest)
  rest = setTimeout(() => {
    collectGarbage()
    setTimeout(returnFreedMemory, sweepMilliseconds).unref()
  }, restMilliseconds).unref()
}

/**
 * Allocates an array that nobody touches, which takes no memory. V8 counts it, and where arrays have more than half of the heap's limit it
 * collects all garbage and makes its heap small (`ReportExternalMemoryPressure` in V8's heap.cc).
 */
function collectGarbage(): void {
  const { port1, port2 } = new MessageChannel()
  try {
    const untouched = new ArrayBuffer(getHeapStatistics().heap_size_limit)
    // Sent to where nobody receives, it is gone at once.
    port1.postMessage(null, [untouched])
  } catch {
    // The system may refuse it; V8 collects in its own time then.
  } finally {
    port2.close()
  }
}

/** Has the C library return memory, on a thread of libuv's pool. */
function returnFreedMemory(): void {
  if (process.platform !== 'linux') return
  try {
    system()
      .func('malloc_trim', 'int', ['size_t'])
      .async(0, () => {})
  } catch {
    // Not every C library of Linux has it.
  }
}
