/** BERT's tokenizer with a vocabulary of our own. */
import { countsOf, learnMerges, scores } from './merges.mjs'

const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
const punctuation = /([\p{P}!-/:-@[-`{-~])/gu

/** Words and single punctuation marks, lower case without accents, as BERT's tokenizer cuts them. */
export function wordsOf(text) {
  const plain = text
    .toLowerCase()
    .normalize('NFD')
    .replace(/\p{Mn}/gu, '')
  return plain.replace(punctuation, ' $1 ').split(/\s+/).filter(Boolean)
}

/** The document of tokenizer.json. Characters that occur fewer than `leastCharacters` times are left out. */
export function trainWordPieces(texts, { size, leastCharacters = 20, least = 2 }) {
  const words = countsOf(texts.flatMap(wordsOf))
  const characters = new Map()
  for (const [word, count] of words) for (const character of word) characters.set(character, (characters.get(character) ?? 0) + count)
  const known = [...words].filter(([word]) => [...word].every((character) => characters.get(character) >= leastCharacters))
  const { symbols } = learnMerges(known, {
    size: size - special.length,
    split: (word) => [...word].map((character, i) => (i ? `##${character}` : character)),
    join: (left, right) => left + right.slice(2),
    score: scores.likelihood,
    least,
  })
  const vocabulary = Object.fromEntries([...special, ...symbols].map((text, id) => [text, id]))
  const place = (text) => ({ SpecialToken: { id: text, type_id: 0 } })
  const sequence = (id, type) => ({ Sequence: { id, type_id: type } })
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special.map((content, id) => {
      return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
    }),
    normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [place('[CLS]'), sequence('A', 0), place('[SEP]')],
      pair: [place('[CLS]'), sequence('A', 0), place('[SEP]'), sequence('B', 1), { SpecialToken: { id: '[SEP]', type_id: 1 } }],
      special_tokens: Object.fromEntries(['[CLS]', '[SEP]'].map((text) => [text, { id: text, ids: [vocabulary[text]], tokens: [text] }])),
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: vocabulary,
    },
  }
}

/** The document of tokenizer_config.json. */
export function wordPieceConfig(maxLength) {
  return {
    tokenizer_class: 'BertTokenizer',
    do_lower_case: true,
    tokenize_chinese_chars: true,
    strip_accents: null,
    model_max_length: maxLength,
    pad_token: '[PAD]',
    unk_token: '[UNK]',
    cls_token: '[CLS]',
    sep_token: '[SEP]',
    mask_token: '[MASK]',
  }
}

/** The ids of each text without special tokens, at most `most`: every word is tokenized once. */
export function wordPieceIds(tokenizer, texts, most) {
  const known = new Map()
  const idsOf = (word) => {
    if (!known.has(word)) known.set(word, tokenizer.ids(word))
    return known.get(word)
  }
  return texts.map((text) => Int32Array.from(wordsOf(text).flatMap(idsOf).slice(0, most)))
}
