import { badInput } from '../../base/errors.js'
import { openGraph } from '../../engine/open.js'
import type { Feeds, LoadOptions, Port, Session } from '../../engine/session.js'
import type { Graph } from '../../ir/graph.js'
import type { Value } from '../../ir/node.js'
import type { NDArray } from '../../numbers/dtype.js'
import { type TextFeeds, textFeeds } from '../../pipelines/index.js'
import { portsOf } from './text-inputs.js'

/** A model that is run beside the one in training: only as far as the wanted values, in a session of its own, without gradients. */
export class Teacher {
  readonly #graph: Graph
  readonly #ports: readonly Port[]
  readonly #options: LoadOptions
  #session: Promise<Session> | null = null

  /** @param values of `model`, to be returned by name */
  constructor(model: Graph, values: readonly Value[], options: LoadOptions = {}) {
    this.#graph = model.clone()
    const wanted = [...new Set(values.map(({ name }) => name))].map((name) => this.#graph.value(name)!)
    this.#graph.outputs.splice(0, this.#graph.outputs.length, ...wanted)
    this.#graph.prune()
    this.#ports = portsOf(this.#graph)
    this.#options = options
  }

  /**
   * The values for a batch.
   *
   * @param feeds of the student; what the teacher reads besides is made from the text
   * @throws TinsmithError `bad-input` naming an input that they do not give
   */
  async run(feeds: Feeds): Promise<Record<string, NDArray>> {
    this.#session ??= openGraph(this.#graph, this.#options)
    const session = await this.#session
    const results = await session.run(this.#feedsFrom(feeds))
    const arrays = Object.entries(results).map(([name, output]) => {
      const { dtype, shape, data } = output
      output.dispose()
      return [name, { dtype, shape, data }] as const
    })
    return Object.fromEntries(arrays)
  }

  async dispose(): Promise<void> {
    const session = await this.#session
    this.#session = null
    await session?.dispose()
  }

  #feedsFrom(feeds: Feeds): Feeds {
    if (isText(feeds)) return textFeeds({ inputs: this.#ports }, feeds)
    const missing = this.#ports.find(({ name }) => !feeds[name])
    if (missing) throw badInput(`the teacher wants the input ${missing.name}, which the student's batches do not give`)
    return Object.fromEntries(this.#ports.map(({ name }) => [name, feeds[name]]))
  }
}

function isText(feeds: Feeds): feeds is Feeds & TextFeeds {
  return 'input_ids' in feeds && 'attention_mask' in feeds
}
