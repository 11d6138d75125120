import { badInput, didYouMean, usage } from '../base/errors.js'
import { type DType, dtypes, type NDArray, sizeOf } from '../numbers/dtype.js'
import type { Feeds, Port, RunOptions } from './session.js'

/** A port as people read it: `float32 [batch, 384]`. */
export function portText(port: Port): string {
  return `${port.dtype} [${port.shape.join(', ')}]`
}

/**
 * Checks feeds before an engine sees them: no name missing or unknown, type, rank and fixed dimensions as the ports
 * say, elements of the class and number that type and shape ask for. Elements of arrays that live in an engine are
 * not touched.
 *
 * @param inEngine tells arrays whose elements the engine itself keeps (those are right)
 * @throws TinsmithError `bad-input` with the name of the feed
 */
export function checkFeeds(ports: readonly Port[], feeds: Feeds, inEngine: (array: NDArray) => boolean = () => false): void {
  for (const port of ports) {
    const feed = Object.hasOwn(feeds, port.name) ? feeds[port.name] : undefined
    if (!feed) throw badInput(`The feed "${port.name}" (${portText(port)}) is missing`, { where: port.name, hint: given(feeds) })
    checkArray(`The feed "${port.name}"`, port, feed, inEngine(feed))
  }
  const names = Object.keys(feeds)
  if (names.length === ports.length) return
  const known = ports.map((port) => port.name)
  for (const name of names)
    if (!known.includes(name)) throw badInput(`The graph has no input "${name}"`, { where: name, hint: didYouMean(name, known) })
}

/**
 * The outputs that a run computes: those asked for in their order, else all.
 *
 * @throws TinsmithError `bad-input` for unknown names, or memory in `into` that does not fit or is not computed
 */
export function wantedOutputs(
  ports: readonly Port[],
  options: RunOptions,
  inEngine: (array: NDArray) => boolean = () => false,
): readonly Port[] {
  const wanted = options.outputs ? [...new Set(options.outputs)].map((name) => known(ports, name)) : ports
  if (!wanted.length) throw usage('A run needs at least one output')
  for (const [name, array] of Object.entries(options.into ?? {})) {
    const port = known(ports, name)
    if (!wanted.includes(port)) throw badInput(`The output "${name}" has memory in "into" but is not computed`, { where: name })
    checkArray(`The memory for output "${name}"`, port, array, inEngine(array))
  }
  return wanted
}

function known(ports: readonly Port[], name: string): Port {
  const port = ports.find((candidate) => candidate.name === name)
  if (port) return port
  const names = ports.map((candidate) => candidate.name)
  throw badInput(`The graph has no output "${name}"`, { where: name, hint: didYouMean(name, names) })
}

function checkArray(what: string, port: Port, array: NDArray, inEngine: boolean): void {
  const { dtype, shape } = array
  const where = port.name
  if (dtype !== port.dtype) throw badInput(`${what} must be ${port.dtype}, not ${dtype}`, { where })
  const fits = shape.length === port.shape.length && shape.every((dim, axis) => fitsDimension(dim, port.shape[axis]))
  if (!fits) throw badInput(`${what} must have the shape [${port.shape.join(', ')}], not [${shape.join(', ')}]`, { where })
  if (!inEngine) checkElements(what, array, where)
}

function fitsDimension(dim: number, expected: number | string): boolean {
  return typeof expected === 'number' ? dim === expected : Number.isSafeInteger(dim) && dim >= 0
}

function checkElements(what: string, { dtype, shape, data }: NDArray, where: string): void {
  const { array, kind } = dtypes[dtype as DType]
  if (!(data instanceof array)) {
    const kindOf = (data as object | undefined)?.constructor?.name ?? String(data)
    throw badInput(`${what} is ${dtype}, so its elements live in a ${array.name}, not in a ${kindOf}`, { where })
  }
  const count = sizeOf(shape) * (kind === 'complex' ? 2 : 1)
  if (data.length !== count) {
    throw badInput(`${what} has the shape [${shape.join(', ')}], which takes ${count} elements, but has ${data.length}`, { where })
  }
}

function given(feeds: Feeds): string {
  const names = Object.keys(feeds)
  return names.length ? `Given: ${names.join(', ')}.` : 'No feeds were given.'
}
