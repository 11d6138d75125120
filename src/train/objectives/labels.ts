import { badInput, type TinsmithError } from '../../base/errors.js'
import type { Sample } from '../../data/index.js'
import type { Config } from '../../ir/model.js'
import { labelName } from '../../pipelines/index.js'
import { expectedLabels } from '../../tasks/index.js'

/** What has a class. */
export type Labelled = Pick<Sample, 'label'>

/**
 * The names of the classes of samples, for a model that gets a head for them: numbers in their order, other names by the
 * alphabet.
 *
 * @throws TinsmithError `bad-input` for a sample without a label
 * @example
 * classNames([{ label: 'spam' }, { label: 'ham' }, { label: 'spam' }]) // ['ham', 'spam']
 */
export function classNames(samples: readonly Labelled[]): string[] {
  const labels = samples.map(({ label }, i) => label ?? missing(i))
  const names = [...new Set(labels.map(String))]
  return labels.every((label) => typeof label === 'number')
    ? names.sort((a, b) => Number(a) - Number(b))
    : names.sort((a, b) => (a < b ? -1 : 1))
}

/**
 * The names of the classes that a model is to learn, as {@link classNames}.
 *
 * @throws TinsmithError `bad-input` where there is one class alone
 */
export function severalClasses(samples: readonly Labelled[]): string[] {
  const names = classNames(samples)
  if (names.length === 1) throw oneClass(samples.length, names[0])
  return names
}

/**
 * The index of the class of each sample, by the names in config.json or as a number.
 *
 * @throws TinsmithError `bad-input` naming a label that the model does not have
 */
export function classIndexes(config: Config | null, samples: readonly Labelled[], classes: number): number[] {
  return expectedLabels(config ?? {}, samples, classes, 'the training data')
}

/** @throws TinsmithError `bad-input` when all samples are of one class, from which nothing is learned */
export function requireSeveralClasses(config: Config | null, indexes: readonly number[]): void {
  if (!indexes.length) throw badInput('there are no labels to train on')
  if (indexes.some((index) => index !== indexes[0])) return
  throw oneClass(indexes.length, labelName(config ?? {}, indexes[0]))
}

function oneClass(count: number, name: string): TinsmithError {
  return badInput(`all ${count} labels are ${name}, and training needs at least two classes`)
}

function missing(index: number): never {
  throw badInput(`sample ${index} has no label`)
}
