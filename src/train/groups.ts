import { badInput, nearest } from '../base/errors.js'
import { globPattern } from '../base/glob.js'
import type { Value } from '../ir/node.js'

/** Settings for the parameters that a glob over their names matches; the first group that matches counts. */
export interface ParameterGroup {
  readonly match: string
  /** Factor on the learning rate; 0 freezes. */
  readonly rate?: number
  readonly weightDecay?: number
}

/** Parameters with the same settings. */
export interface ResolvedGroup {
  readonly parameters: readonly Value[]
  readonly rate: number
  readonly weightDecay: number
}

/**
 * Sorts parameters into groups of equal settings. Biases and gains of norms (vectors) have no weight decay unless a group
 * says otherwise; frozen ones are left out.
 *
 * @throws TinsmithError `bad-input` for a glob that matches nothing (the nearest name is given), or when nothing is left to train
 */
export function resolveGroups(parameters: readonly Value[], groups: readonly ParameterGroup[], weightDecay: number): ResolvedGroup[] {
  const patterns = groups.map((group) => globPattern(group.match))
  checkMatches(groups, patterns, parameters)
  const resolved = new Map<string, { parameters: Value[]; rate: number; weightDecay: number }>()
  for (const parameter of parameters) {
    const group = groups[patterns.findIndex((pattern) => pattern.test(parameter.name))]
    const rate = group?.rate ?? 1
    const decay = group?.weightDecay ?? (parameter.shape!.length > 1 ? weightDecay : 0)
    const key = `${rate} ${decay}`
    if (!resolved.has(key)) resolved.set(key, { parameters: [], rate, weightDecay: decay })
    resolved.get(key)!.parameters.push(parameter)
  }
  const trained = [...resolved.values()].filter((group) => group.rate > 0)
  if (!trained.length) throw badInput('no parameter is left to train', { hint: 'Every parameter is in a group with rate 0.' })
  return trained
}

function checkMatches(groups: readonly ParameterGroup[], patterns: readonly RegExp[], parameters: readonly Value[]): void {
  const names = parameters.map((parameter) => parameter.name)
  groups.forEach(({ match }, i) => {
    if (names.some((name) => patterns[i].test(name))) return
    const guess = nearest(match, names)
    throw badInput(`no parameter is named ${match}`, {
      hint: guess ? `Did you mean "${guess}"?` : `They are named like ${names.slice(0, 3).join(', ')}.`,
    })
  })
}
