/**
 * Turns token ids that arrive one by one into text: a piece is given out once its characters are whole (a character may
 * take several tokens, and some decoders treat the first token of a text differently from the rest).
 *
 * Source: the incremental detokenization of text-generation-inference.
 *
 * @example
 * const decoder = tokenizer.streamDecoder()
 * for (const id of ids) process.stdout.write(decoder.push(id))
 * process.stdout.write(decoder.end())
 */
export class StreamDecoder {
  readonly #decode: (ids: readonly number[]) => string
  readonly #ids: number[]
  /** Tokens before this are given out and no longer decoded. */
  #context = 0
  /** Tokens before this are given out. */
  #given: number

  /** @param context ids whose text was given out already (the prompt's last) */
  constructor(decode: (ids: readonly number[]) => string, context: readonly number[] = []) {
    this.#decode = decode
    this.#ids = [...context]
    this.#given = context.length
  }

  /** Takes the next id; returns the text that is now complete, often a word, sometimes nothing. */
  push(id: number): string {
    this.#ids.push(id)
    const text = this.#newText()
    return text.endsWith('\uFFFD') ? '' : this.#give(text)
  }

  /** What is left, incomplete characters as U+FFFD. */
  end(): string {
    return this.#give(this.#newText())
  }

  #newText(): string {
    const before = this.#decode(this.#ids.slice(this.#context, this.#given))
    return this.#decode(this.#ids.slice(this.#context)).slice(before.length)
  }

  #give(text: string): string {
    if (text) {
      this.#context = this.#given
      this.#given = this.#ids.length
    }
    return text
  }
}
