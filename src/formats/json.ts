import { badInput } from '../base/errors.js'

/**
 * A JSON document from a file that nobody vouches for: as JSON.parse, but keys given twice and nesting beyond `depth` are errors
 * too, and nothing is built before that is known.
 *
 * @param where file for messages
 * @throws TinsmithError `bad-input`
 * @example
 * parseJson('{"a": 1, "a": 2}', 'config.json') // throws: the key "a" is given twice
 */
export function parseJson(text: string, where: string, depth = 64): unknown {
  checkKeys(text, where, depth)
  try {
    return JSON.parse(text)
  } catch (error) {
    throw badInput(`this is not JSON (${shorten((error as Error).message, 120)})`, { where, cause: error })
  }
}

/** Walks over the tokens; what is not JSON at all is left to the parser. */
function checkKeys(text: string, where: string, depth: number): void {
  /** Keys met in each open object; null for an array. */
  const open: (Set<string> | null)[] = []
  let expectsKey = false
  for (let at = 0; at < text.length; at++) {
    const character = text.charCodeAt(at)
    if (character === quote) {
      const end = endOfString(text, at)
      if (expectsKey) addKey(open.at(-1), text.slice(at, end + 1), where)
      expectsKey = false
      at = end
    } else if (character === openBrace || character === openBracket) {
      if (open.length === depth) throw badInput(`the JSON is nested deeper than ${depth} levels`, { where })
      open.push(character === openBrace ? new Set() : null)
      expectsKey = character === openBrace
    } else if (character === closeBrace || character === closeBracket) open.pop()
    else if (character === comma) expectsKey = open.at(-1) instanceof Set
  }
}

const [quote, backslash, comma, openBrace, closeBrace, openBracket, closeBracket] = [...'"\\,{}[]'].map((character) =>
  character.charCodeAt(0),
)

/** Index of the closing quote, or the text's length. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const character = text.charCodeAt(at)
    if (character === quote) return at
    if (character === backslash) at++
  }
  return text.length
}

function addKey(keys: Set<string> | null | undefined, token: string, where: string): void {
  const key = token.includes('\\') ? unescaped(token) : token.slice(1, -1)
  if (keys?.has(key)) throw badInput(`the key ${JSON.stringify(shorten(key, 200))} is given twice`, { where })
  keys?.add(key)
}

function unescaped(token: string): string {
  try {
    return JSON.parse(token) as string
  } catch {
    return token
  }
}

/** A text for messages, cut at `length` characters. */
export function shorten(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length)}...` : text
}

/** Whether a JSON value is an object (no array, not null). */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
