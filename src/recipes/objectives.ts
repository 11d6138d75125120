/** The objectives that recipes for training can name: their options, their data, and how they are made. */
import * as z from 'zod'
import type { ByteSource } from '../base/bytes.js'
import { badInput, didYouMean } from '../base/errors.js'
import { readSamples, type Sample, type TextSample } from '../data/index.js'
import type { Graph } from '../ir/graph.js'
import type { Config } from '../ir/model.js'
import type { Tokenizer } from '../pipelines/index.js'
import { imageClassification as imageTask, tokenClassification as tokenTask } from '../tasks/index.js'
import type { Objective } from '../train/objective.js'
import * as make from '../train/objectives/index.js'
import type { Named } from './training.js'

/** What an objective is made from. */
export interface Trainee {
  readonly graph: Graph
  readonly config: Config
  /** Null for models of images. */
  readonly tokenizer: Tokenizer | null
  readonly imageSettings: Config
  /** What distillation learns from. */
  readonly teacher: Graph | null
  readonly maxLength: number
}

/** How the training data are read. */
export interface DataOptions {
  readonly columns?: string
  readonly folder?: import('../base/bytes.js').Folder
}

/** One objective that recipes can name. */
export interface ObjectiveKind {
  readonly name: string
  readonly summary: string
  readonly options: z.ZodType
  /** End of the class that the model is trained as; null for the class that it has. */
  readonly head: string | null
  /** Whether the head's classes are those of the data. */
  readonly classes: boolean
  samples(source: ByteSource, options: DataOptions): Promise<readonly Sample[]>
  /** What is trained on, where that is not the samples themselves (windows of tokens). */
  prepare?(samples: readonly Sample[], trainee: Trainee): readonly object[]
  create(trainee: Trainee, options: never): Objective<never>
}

function define<Schema extends z.ZodType, S>(
  kind: Omit<ObjectiveKind, 'options' | 'create'> & { options: Schema; create(trainee: Trainee, options: z.output<Schema>): Objective<S> },
): ObjectiveKind {
  return kind as unknown as ObjectiveKind
}

function textModel({ tokenizer, graph, config, maxLength }: Trainee): make.TextModel {
  if (!tokenizer) throw badInput('the model has no tokenizer.json, and training on texts needs it')
  const limits = [maxLength, tokenizer.maxLength, config['max_position_embeddings'], config['n_positions']]
  return { tokenizer, graph, config, maxLength: Math.min(...limits.filter((limit): limit is number => typeof limit === 'number')) }
}

const table =
  (wanted: Parameters<typeof readSamples>[1]) =>
  async (source: ByteSource, { columns }: DataOptions) =>
    (await readSamples(source, { ...wanted, columns })).samples

const smoothing = z.strictObject({ labelSmoothing: z.number().min(0).lt(1).optional() }).prefault({})
const weight = z.number().positive().default(1)

/** All objectives by name. */
export const objectiveKinds: readonly ObjectiveKind[] = [
  define({
    name: 'classification',
    summary: 'classes of texts or pairs, from text,label',
    options: smoothing,
    head: 'ForSequenceClassification',
    classes: true,
    samples: table({ label: 'class' }),
    create: (trainee, options) => make.classification({ ...textModel(trainee), ...options }),
  }),
  define({
    name: 'token-classification',
    summary: 'classes of words, from sentences with a label for each word',
    options: z.strictObject({}).prefault({}),
    head: 'ForTokenClassification',
    classes: true,
    samples: async (source, { columns }) => (await tokenTask.samples(source, { columns })).samples,
    create: (trainee) => make.tokenClassification(textModel(trainee)),
  }),
  define({
    name: 'masked-language-model',
    summary: 'hidden tokens, words or spans of texts',
    options: z
      .strictObject({
        unit: z.enum(['token', 'word', 'span']).optional(),
        rate: z.number().gt(0).lt(1).optional(),
        maskToken: z.string().optional(),
      })
      .prefault({}),
    head: 'ForMaskedLM',
    classes: false,
    samples: table({}),
    create: (trainee, options) => make.maskedLanguageModel({ ...textModel(trainee), ...options }),
  }),
  define({
    name: 'causal-language-model',
    summary: 'the next token of texts, packed into windows',
    options: z.strictObject({}).prefault({}),
    head: null,
    classes: false,
    samples: table({}),
    prepare(samples, trainee) {
      const { tokenizer, maxLength } = textModel(trainee)
      return make.packWindows(samples as readonly TextSample[], { tokenizer, length: maxLength! })
    },
    create: (trainee) => make.causalLanguageModel(textModel(trainee)),
  }),
  define({
    name: 'cosine-regression',
    summary: 'embeddings whose cosine is the score of a pair, from text,text,score',
    options: z
      .strictObject({ range: z.tuple([z.number(), z.number()]).optional().describe('labels that mean cosines of 0 and 1') })
      .prefault({}),
    head: null,
    classes: false,
    samples: table({ texts: 2, label: 'number' }),
    create: (trainee, options) => make.cosineRegression({ ...textModel(trainee), ...options }),
  }),
  define({
    name: 'cosent',
    summary: 'embeddings whose cosines are ordered as the scores of pairs (CoSENT), from text,text,score',
    options: z.strictObject({ scale: z.number().positive().optional() }).prefault({}),
    head: null,
    classes: false,
    samples: table({ texts: 2, label: 'number' }),
    create: (trainee, options) => make.coSent({ ...textModel(trainee), ...options }),
  }),
  define({
    name: 'multiple-negatives-ranking',
    summary: 'embeddings of pairs that belong together, against the other pairs of the batch',
    options: z.strictObject({ scale: z.number().positive().optional(), symmetric: z.boolean().optional() }).prefault({}),
    head: null,
    classes: false,
    samples: table({ texts: 2 }),
    create: (trainee, options) => make.multipleNegativesRanking({ ...textModel(trainee), ...options }),
  }),
  define({
    name: 'image-classification',
    summary: 'classes of images, from a folder for each class or a table of path,label',
    options: smoothing,
    head: 'ForImageClassification',
    classes: true,
    samples: async (source, options) => (await imageTask.samples(source, options)).samples,
    create: ({ graph, config, imageSettings }, options) => make.imageClassification({ graph, config, imageSettings, ...options }),
  }),
  define({
    name: 'distillation',
    summary: 'what a teacher computes: logits, hidden states, relations (MiniLM) or attention maps',
    options: z
      .strictObject({
        logits: z.strictObject({ temperature: z.number().positive().optional(), weight }).optional(),
        hidden: z.strictObject({ tokens: z.enum(['all', 'first']).optional(), weight }).optional(),
        relations: z
          .strictObject({
            version: z.union([z.literal(1), z.literal(2)]).optional(),
            heads: z.number().int().positive().optional(),
            weight,
          })
          .optional(),
        attention: z.strictObject({ weight }).optional(),
      })
      .prefault({ hidden: {} }),
    head: null,
    classes: false,
    samples: table({}),
    create(trainee, { logits, hidden, relations, attention }) {
      if (!trainee.teacher) throw badInput('distillation needs a teacher')
      const terms = [
        ...(logits ? [{ term: make.fromLogits(logits), weight: logits.weight }] : []),
        ...(hidden ? [{ term: make.fromHiddenStates(hidden), weight: hidden.weight }] : []),
        ...(relations ? [{ term: make.fromRelations(relations), weight: relations.weight }] : []),
        ...(attention ? [{ term: make.fromAttention(), weight: attention.weight }] : []),
      ]
      return make.distillation({ teacher: trainee.teacher, student: trainee.graph, inputs: make.textBatches(textModel(trainee)), terms })
    },
  }),
]

/** An objective of a recipe with its options checked. */
export interface ChosenObjective {
  readonly kind: ObjectiveKind
  readonly options: unknown
  readonly weight: number
}

/**
 * The objectives that a recipe names.
 *
 * @throws TinsmithError `bad-input` for an unknown name or wrong options
 */
export function chooseObjectives(given: readonly Named[], where: string): ChosenObjective[] {
  return given.map(({ name, line, options: { weight: factor = 1, ...options } }) => {
    const kind = objectiveKinds.find((candidate) => candidate.name === name)
    if (!kind)
      throw badInput(`line ${line}: there is no objective "${name}"`, {
        where,
        hint: didYouMean(
          name,
          objectiveKinds.map((known) => known.name),
        ),
      })
    const parsed = kind.options.safeParse(options)
    if (!parsed.success)
      throw badInput(`line ${line}: objective ${name}: ${parsed.error.issues[0].path.join('.')}: ${parsed.error.issues[0].message}`, {
        where,
      })
    if (typeof factor !== 'number' || !(factor > 0))
      throw badInput(`line ${line}: objective ${name}: the weight must be a positive number`, { where })
    return { kind, options: parsed.data, weight: factor }
  })
}

/** The objectives of a recipe as one. */
export function createObjective(chosen: readonly ChosenObjective[], trainee: Trainee): Objective<object> {
  const parts = chosen.map(({ kind, options, weight: factor }) => ({
    objective: kind.create(trainee, options as never) as unknown as Objective<object>,
    weight: factor,
  }))
  return parts.length === 1 && parts[0].weight === 1 ? parts[0].objective : make.weightedSum(parts)
}
