import { badInput } from '../base/errors.js'

/** Tokens that are searched for before a table of all is made, which takes as long as some hundred searches. */
const mostSearches = 100

/** Characters that space may take up between an entry and the next. */
const mostSpace = 64

/**
 * Tokens and their ids out of the text of a JSON object: `Map` as far as the tokenizer library asks. The first tokens are searched for where
 * they stand in the text, for a table of all is most of the time that a start with a few texts takes.
 */
export class TokenTable {
  /** From the opening brace to the closing one. */
  readonly #text: string
  readonly #known = new Map<string, number>()
  #searches = 0
  #all: Map<string, number> | undefined

  constructor(text: string) {
    this.#text = text
    // Characters may be written in several ways where these escapes are.
    if (text.includes('\\u') || text.includes('\\/')) this.#searches = mostSearches
  }

  get(token: string): number | undefined {
    const known = this.#known.get(token)
    if (known !== undefined) return known
    if (this.#all || this.#searches >= mostSearches) return this.#table().get(token)
    this.#searches++
    const found = this.#search(token)
    if (found !== undefined) this.#known.set(token, found)
    return found
  }

  has(token: string): boolean {
    return this.get(token) !== undefined
  }

  set(token: string, id: number): void {
    this.#known.set(token, id)
  }

  /** The tokens at their ids. */
  tokens(): string[] {
    const tokens: string[] = []
    for (const [token, id] of [...this.#table(), ...this.#known]) tokens[id] = token
    return tokens
  }

  #table(): Map<string, number> {
    try {
      this.#all ??= new Map(Object.entries(JSON.parse(this.#text) as Record<string, number>))
      return this.#all
    } catch (error) {
      throw badInput(`the vocabulary cannot be used (${(error as Error).message})`, { where: 'tokenizer.json', cause: error })
    }
  }

  #search(token: string): number | undefined {
    const key = JSON.stringify(token)
    for (let at = this.#text.indexOf(key); at >= 0; at = this.#text.indexOf(key, at + 1)) {
      const [before, behind] = [this.#text.slice(Math.max(0, at - mostSpace), at), at + key.length]
      const id = /^\s*:\s*(\d+)\s*[,}]/.exec(this.#text.slice(behind, behind + mostSpace))
      if (id && /(\d\s*,|^\{)\s*$/.test(before)) return Number(id[1])
    }
    return undefined
  }
}

/**
 * The document of a tokenizer.json with the tokens of a WordPiece model as a {@link TokenTable}; other documents as JSON has them.
 *
 * @throws SyntaxError where the text is no JSON
 */
export function parseDefinition(text: string): unknown {
  const place = /(?<!\\)"vocab"\s*:\s*(?=\{)/.exec(text)
  if (!place) return JSON.parse(text)
  const start = place.index + place[0].length
  const end = endOfIds(text, start)
  try {
    const document = JSON.parse(`${text.slice(0, start)}null${text.slice(end)}`) as { model?: { type?: unknown; vocab?: unknown } }
    if (document.model?.type === 'WordPiece' && document.model.vocab === null) {
      document.model.vocab = new TokenTable(text.slice(start, end))
      return document
    }
  } catch {
    // The whole text tells what is wrong, or that the object ends elsewhere.
  }
  return JSON.parse(text)
}

/** Behind the first closing brace that follows a number; in a token that would be no end, and the rest no JSON. */
function endOfIds(text: string, start: number): number {
  let end = text.indexOf('}', start)
  while (end >= 0 && !/\d\s*$/.test(text.slice(Math.max(start, end - mostSpace), end))) end = text.indexOf('}', end + 1)
  return end + 1
}
