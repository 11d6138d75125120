import * as z from 'zod'
import { badInput, nearest } from '../base/errors.js'
import { globPattern } from '../base/glob.js'

/** Options by which every pass over layers chooses them: globs over names in the checkpoint (`*` within a part, `**` across parts). */
export const selection = {
  include: z.array(z.string()).default(['**']).describe('layers to change, as globs over their names in the checkpoint'),
  exclude: z.array(z.string()).default([]).describe('layers to leave as they are'),
}

export interface Selection {
  readonly include: readonly string[]
  readonly exclude: readonly string[]
}

/** A test for names: one of `include` matches and none of `exclude`. */
export function selector({ include, exclude }: Selection): (name: string) => boolean {
  const [wanted, unwanted] = [include.map(globPattern), exclude.map(globPattern)]
  return (name) => wanted.some((pattern) => pattern.test(name)) && !unwanted.some((pattern) => pattern.test(name))
}

/** @throws TinsmithError `bad-input` for a glob that matches no name at all: a typing error more often than not */
export function checkSelection({ include, exclude }: Selection, names: readonly string[]): void {
  for (const glob of [...include, ...exclude])
    if (names.length && !names.some((name) => globPattern(glob).test(name)))
      throw badInput(`no layer is named ${glob}`, { where: 'recipe', hint: hintFor(glob, names) })
}

function hintFor(glob: string, names: readonly string[]): string {
  const guess = nearest(glob, names)
  return guess ? `Did you mean "${guess}"?` : `Layers are named like ${names.slice(0, 4).join(', ')}.`
}
