/** One listener per signal, however many runs share it: Node.js warns beyond ten. */
const listeners = new WeakMap<AbortSignal, Set<() => void>>()

/**
 * Calls back once when the signal fires.
 *
 * @returns ends the listening
 */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): () => void {
  if (!signal) return () => {}
  let callbacks = listeners.get(signal)
  if (!callbacks) {
    const all = new Set<() => void>()
    callbacks = all
    listeners.set(signal, all)
    const fire = () => {
      for (const call of [...all]) call()
    }
    signal.addEventListener('abort', fire, { once: true })
  }
  const all = callbacks
  all.add(callback)
  return () => all.delete(callback)
}
