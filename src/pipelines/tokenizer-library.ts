import * as library from '@huggingface/tokenizers'

/** The part of @huggingface/tokenizers that is used; its own declarations cannot be resolved under `nodenext`. */
export interface LibraryTokenizer {
  readonly post_processor:
    | ((first: string[], second: string[] | null, specialTokens: boolean) => { tokens: string[]; token_type_ids?: number[] })
    | null
  readonly model: { readonly unk_token_id?: number } | null
  tokenize(text: string, options?: { add_special_tokens?: boolean }): string[]
  decode(ids: number[], options?: { skip_special_tokens?: boolean }): string
  token_to_id(token: string): number | undefined
  id_to_token(id: number): string | undefined
  get_added_tokens_decoder(): Map<number, { readonly special: boolean }>
  get_vocab(): Map<string, number>
}

/** A tokenizer of the library from the documents of tokenizer.json and tokenizer_config.json. */
export function createTokenizer(definition: object, config: object): LibraryTokenizer {
  const { Tokenizer } = library as unknown as { Tokenizer: new (definition: object, config: object) => LibraryTokenizer }
  return new Tokenizer(definition, config)
}
