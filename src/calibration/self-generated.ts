import type { Random } from '../base/random.js'
import type { Graph } from '../ir/graph.js'
import { generateIds, type Tokenizer } from '../pipelines/index.js'
import type { Calibration } from './calibration.js'
import type { CollectContext } from './collect.js'
import { calibrationFromTokens } from './from-text.js'

export interface SelfGeneratedOptions {
  readonly samples: number
  /** Tokens of each text. */
  readonly length: number
}

/**
 * Calibration for a decoder from text that it writes itself: each sample begins with one token drawn from the vocabulary
 * and goes on by sampling (LLM-QAT, Liu et al., 2023: the first tokens greedily, the rest drawn).
 */
export async function selfGenerated(
  graph: Graph,
  tokenizer: Tokenizer | null,
  vocabulary: number,
  random: Random,
  context: CollectContext,
  { samples, length }: SelfGeneratedOptions = { samples: 16, length: 96 },
): Promise<Calibration> {
  const session = await context.open(graph)
  const stage = context.progress.stage('writing calibration text', samples)
  const special = tokenizer?.specialIds ?? new Set<number>()
  const rows: { ids: number[]; types: number[]; special: number[] }[] = []
  try {
    for (let i = 0; i < samples; i++) {
      const ids = [drawToken(random, vocabulary, special)]
      const draw = random.stream(`sample ${i}`).integer(2 ** 31)
      for await (const id of generateIds(session, ids, {
        maxNewTokens: length - 1,
        temperature: 1,
        topK: 50,
        seed: draw,
        signal: context.signal,
      }))
        ids.push(id)
      rows.push({ ids, types: ids.map(() => 0), special: ids.map((id) => (special.has(id) ? 1 : 0)) })
      stage.advance()
    }
  } finally {
    stage.end()
    await session.dispose()
  }
  return calibrationFromTokens(rows, graph, 0, 'text written by the model itself')
}

function drawToken(random: Random, vocabulary: number, special: ReadonlySet<number>): number {
  for (;;) {
    const id = random.integer(vocabulary)
    if (!special.has(id)) return id
  }
}
