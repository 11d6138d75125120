import { badInput } from '../../base/errors.js'
import type { LoadOptions } from '../../engine/session.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import type { Tensor } from '../../ir/tensor.js'
import { times } from '../../nn/losses.js'
import type { Net } from '../../nn/net.js'
import type { Objective } from '../objective.js'
import { sharedInput } from './graph-values.js'
import { Teacher } from './teacher.js'

/** The two models of a distillation. */
export interface TeacherAndStudent {
  readonly student: Graph
  readonly teacher: Graph
}

/** One thing in which the student is to be like its teacher. */
export interface DistillationTerm {
  /** Values of the teacher's graph that it compares with. */
  readonly values: readonly Value[]
  /** What it trains besides the student, by name. */
  readonly parameters?: ReadonlyMap<string, Tensor>
  /** @param given stands in the student's graph for a value of the teacher; its leading dimensions are those of `like` */
  loss(net: Net, given: (value: Value, like: Value) => Value): Value
}

/** A kind of term with its options, for any two models. */
export type TermFactory = (models: TeacherAndStudent) => DistillationTerm

export interface DistillationOptions<Sample> extends Pick<LoadOptions, 'threads'> {
  readonly teacher: Graph
  readonly student: Graph
  /** Makes the batches: an objective on the student (its loss does not count), or {@link textBatches}. */
  readonly inputs: Pick<Objective<Sample>, 'batch'>
  readonly terms: readonly { readonly term: TermFactory; readonly weight?: number }[]
  /** Keeps the teachers of several distillations apart. Default `teacher`. */
  readonly name?: string
}

/**
 * Learning from a teacher: the weighted sum of terms such as {@link fromLogits}, {@link fromHiddenStates}, {@link fromRelations}
 * and {@link fromAttention}. The teacher runs in a session of its own, on the student's batches, without dropout; its values
 * are inputs of the student's training graph.
 *
 * @throws TinsmithError `bad-input` when the models cannot be compared in a term (what and why); `unsupported` for a block that
 * lacks what a term needs
 * @example
 * const hard = classification({ tokenizer, graph: student, config })
 * const soft = distillation({ teacher, student, inputs: hard, terms: [{ term: fromLogits({ temperature: 2 }) }] })
 * const objective = weightedSum([{ objective: hard, weight: 0.5 }, { objective: soft, weight: 0.5 }])
 */
export function distillation<Sample>(options: DistillationOptions<Sample>): Objective<Sample> {
  const { teacher, student, inputs, threads, name = 'teacher' } = options
  if (!options.terms.length) throw badInput('a distillation needs at least one term')
  const terms = options.terms.map(({ term, weight = 1 }) => ({ term: term({ student, teacher }), weight }))
  const runner = new Teacher(
    teacher,
    terms.flatMap(({ term }) => term.values),
    { threads },
  )
  const nameOf = (value: string) => `${name}/${value}`
  return {
    name: 'distillation',
    parameters: terms.flatMap(({ term }) => [...(term.parameters?.keys() ?? [])]),
    loss(net) {
      const given = (value: Value, like: Value) =>
        sharedInput(net, nameOf(value.name), value.dtype ?? 'float32', [...like.shape!.slice(0, -1), value.shape!.at(-1)!])
      const losses = terms.map(({ term, weight }) => times(net, term.loss(net, given), weight))
      return losses.reduce((total, loss) => net.op('Add', [total, loss]))
    },
    async batch(samples, random) {
      const feeds = await inputs.batch(samples, random)
      const values = Object.entries(await runner.run(feeds)).map(([value, array]) => [nameOf(value), array])
      return { ...feeds, ...Object.fromEntries(values) }
    },
    dispose: () => runner.dispose(),
  }
}
