import { type Document, isMap, LineCounter, parseDocument } from 'yaml'
import type * as z from 'zod'
import { badInput, didYouMean, usage } from '../base/errors.js'

/** The line of a place in a document, or of the nearest place around it. */
export type LineOf = (path: readonly PropertyKey[]) => number

/**
 * A YAML document with its lines.
 *
 * @throws TinsmithError `bad-input` with the line
 */
export function readYaml(text: string, where: string): { document: Document.Parsed; contents: unknown; lineOf: LineOf } {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines })
  const [problem] = document.errors
  if (problem) throw badInput(`line ${lines.linePos(problem.pos[0]).line}: ${problem.message.split('\n')[0]}`, { where })
  const lineOf: LineOf = (path) => {
    for (let length = path.length; length >= 0; length--) {
      const node = document.getIn(path.slice(0, length), true) as { range?: [number, number, number] } | undefined
      if (node?.range) return lines.linePos(node.range[0]).line
    }
    return 1
  }
  return { document, contents: contentsOf(document, where), lineOf }
}

/**
 * A document by a schema of an object, after overrides of its values.
 *
 * @param changes `path=value`, the value in YAML, as in `schedule.warmup=0.05`
 * @throws TinsmithError `bad-input` with the line; `usage` for an override of another form
 */
export function parseDocumentAgainst<Schema extends z.ZodObject>(
  schema: Schema,
  text: string,
  where: string,
  changes: readonly string[],
): z.output<Schema> {
  const { document, lineOf } = readYaml(text, where)
  for (const change of changes) override(document, change)
  const parsed = schema.safeParse(contentsOf(document, where))
  if (parsed.success) return parsed.data
  throw schemaError(parsed.error, where, lineOf, Object.keys(schema.shape), [])
}

function override(document: Document.Parsed, change: string): void {
  const [, path, value] = /^([\w.-]+)=(.*)$/.exec(change) ?? []
  if (!path) throw usage(`--set takes path=value and got ${JSON.stringify(change)}`, { hint: 'For example: --set learningRate=1e-4' })
  const given = parseDocument(value)
  if (given.errors.length) throw usage(`--set ${path} got ${JSON.stringify(value)}, which is no value of YAML`)
  const parts = path.split('.')
  const around = document.getIn(parts.slice(0, -1), true)
  if (parts.length > 1 && !isMap(around)) document.setIn(parts.slice(0, -1), document.createNode({}))
  document.setIn(parts, contentsOf(given, '--set'))
}

/** What a document holds; aliases may name nothing, or each other without end. */
export function contentsOf(document: Document.Parsed, where: string): unknown {
  try {
    return document.toJS()
  } catch (error) {
    throw badInput((error as Error).message, { where, cause: error })
  }
}

/** The first problem of a schema as one sentence with its line. */
export function schemaError(error: z.ZodError, where: string, lineOf: LineOf, known: readonly string[], base: readonly PropertyKey[]) {
  const issue = error.issues.find(({ code }) => code === 'unrecognized_keys') ?? error.issues[0]
  const path = [...base, ...issue.path]
  if (issue.code === 'unrecognized_keys') {
    const [key] = issue.keys
    return badInput(`line ${lineOf([...path, key])}: unknown key "${key}"`, { where, hint: didYouMean(key, known) })
  }
  const message = issue.message.replace(/, received undefined$/, ', and it is not there')
  return badInput(`line ${lineOf(path)}: ${path.join('.') || 'the recipe'}: ${message}`, { where })
}
