import * as library from '@huggingface/tokenizers'
import { TokenTable } from './token-table.js'

/** The part of @huggingface/tokenizers that is used; its own declarations cannot be resolved under `nodenext`. */
export interface LibraryTokenizer {
  readonly post_processor:
    | ((first: string[], second: string[] | null, specialTokens: boolean) => { tokens: string[]; token_type_ids?: number[] })
    | null
  readonly model: LibraryModel | null
  readonly added_tokens: readonly { readonly content: string; readonly id: number }[]
  tokenize(text: string, options?: { add_special_tokens?: boolean }): string[]
  decode(ids: number[], options?: { skip_special_tokens?: boolean }): string
  token_to_id(token: string): number | undefined
  id_to_token(id: number): string | undefined
  get_added_tokens_decoder(): Map<number, { readonly special: boolean }>
  get_vocab(): Map<string, number>
}

interface LibraryModel {
  tokens_to_ids: Pick<TokenTable, 'get' | 'has' | 'set'>
  /** Tokens by their ids. */
  vocab: readonly string[]
  readonly unk_token?: string
  unk_token_id?: number
}

const { Tokenizer } = library as unknown as { Tokenizer: new (definition: object, config: object) => LibraryTokenizer }

/** A tokenizer of the library from the documents of tokenizer.json, perhaps with a {@link TokenTable}, and tokenizer_config.json. */
export function createTokenizer(definition: object, config: object): LibraryTokenizer {
  const { model: given } = definition as { readonly model?: { readonly vocab?: unknown } }
  const table = given?.vocab
  if (!(table instanceof TokenTable)) return new Tokenizer(definition, config)
  const tokenizer = new Tokenizer({ ...definition, model: { ...given, vocab: {} } }, config)
  const model = tokenizer.model!
  for (const { content, id } of tokenizer.added_tokens) table.set(content, id)
  model.tokens_to_ids = table
  model.unk_token_id = table.get(model.unk_token ?? '')
  let tokens: readonly string[] | undefined
  Object.defineProperty(model, 'vocab', { get: () => (tokens ??= table.tokens()) })
  return tokenizer
}
