/** GPT-2's tokenizer, bytes merged in pairs, with a vocabulary of our own. */
import { countsOf, learnMerges, scores } from './merges.mjs'

export const endOfText = '<|endoftext|>'
const pieces = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu

/** A printable character for each byte (GPT-2's bytes_to_unicode). */
const characterOf = (() => {
  const printable = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++))
})()

/** The character that stands for a line break. */
export const lineBreak = characterOf[10]

/** The document of tokenizer.json. */
export function trainBytePairs(text, { size }) {
  const words = countsOf([...text.matchAll(pieces)].map(([piece]) => piece))
  const encoder = new TextEncoder()
  const { merges } = learnMerges(words, {
    mergeCount: size - 257,
    split: (word) => [...encoder.encode(word)].map((byte) => characterOf[byte]),
    join: (left, right) => left + right,
    score: scores.count,
  })
  const symbols = [endOfText, ...characterOf, ...merges.map(([left, right]) => left + right)]
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [{ id: 0, content: endOfText, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(symbols.map((symbol, id) => [symbol, id])),
      merges,
    },
  }
}

/** The document of tokenizer_config.json. */
export function bytePairConfig(maxLength) {
  return {
    tokenizer_class: 'GPT2Tokenizer',
    add_prefix_space: false,
    model_max_length: maxLength,
    bos_token: endOfText,
    eos_token: endOfText,
    pad_token: endOfText,
    unk_token: endOfText,
  }
}

/** Gives the ids of long texts: every piece is tokenized once. */
export function bytePairEncoder(tokenizer) {
  const known = new Map()
  return (text) => {
    const ids = []
    for (const [piece] of text.matchAll(pieces)) {
      if (!known.has(piece)) known.set(piece, tokenizer.ids(piece))
      for (const id of known.get(piece)) ids.push(id)
    }
    return Int32Array.from(ids)
  }
}
