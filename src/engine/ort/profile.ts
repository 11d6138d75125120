import type { OperatorTime } from '../session.js'

/** One event of ONNX Runtime's profile (Chrome's trace format): a kernel's name ends with `_kernel_time`. */
interface TraceEvent {
  readonly cat?: string
  readonly name?: string
  /** Microseconds. */
  readonly dur?: number
  readonly args?: { readonly op_name?: string }
}

const suffix = '_kernel_time'

/**
 * ONNX Runtime's profile as times by node, longest first: milliseconds and calls of each node's kernel, summed over
 * all runs. Operators that ONNX Runtime fused carry its names for them.
 *
 * @param text the profile's JSON; a profile that was cut off before its last line is read as far as it goes
 */
export function parseProfile(text: string): OperatorTime[] {
  const times = new Map<string, { operator: string; node: string; calls: number; milliseconds: number }>()
  for (const { cat, name, dur, args } of eventsOf(text)) {
    if (cat !== 'Node' || !name?.endsWith(suffix)) continue
    const node = name.slice(0, -suffix.length)
    const operator = args?.op_name ?? ''
    const key = `${operator}\0${node}`
    const time = times.get(key) ?? { operator, node, calls: 0, milliseconds: 0 }
    time.calls++
    time.milliseconds += (dur ?? 0) / 1000
    times.set(key, time)
  }
  return [...times.values()].sort((a, b) => b.milliseconds - a.milliseconds)
}

function eventsOf(text: string): TraceEvent[] {
  try {
    return JSON.parse(text) as TraceEvent[]
  } catch {
    const end = text.lastIndexOf('},')
    return end < 0 ? [] : (JSON.parse(`${text.slice(0, end + 1)}]`) as TraceEvent[])
  }
}
