import { didYouMean, unsupported } from '../base/errors.js'

type Part = Readonly<Record<string, unknown>>

/** What stands before byte-level BPE. */
export interface ByteLevelParts {
  readonly normalizer: Part | null
  readonly preTokenizer: Part
  /** Words that are tokens are not taken apart. */
  readonly ignoreMerges: boolean
  /** Whether texts begin with the first token where the file does not say it. */
  readonly addsBos: boolean
}

interface Family {
  /** llama.cpp's names, as `tokenizer.ggml.pre` has them. */
  readonly names: readonly string[]
  /** Expressions that cut a text, one after the other; none: GPT-2's own. */
  readonly cuts: readonly string[]
  readonly normalizer?: 'NFC'
  readonly ignoreMerges?: true
  readonly addsBos?: true
}

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const blanks = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'
const upper = '\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}'
const lower = '\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}'

/** The expression of GPT-4 and its heirs, with the digits that stand together. */
function words(digits: string): string {
  return `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${blanks}`
}

/** The expression that also cuts where small letters meet capitals. */
function cased(ending: string, digits: string): string {
  const begin = '[^\\r\\n\\p{L}\\p{N}]?'
  return `${begin}[${upper}]*[${lower}]+${ending}|${begin}[${upper}]+[${lower}]*${ending}|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${blanks}`
}

/** Digits one by one. */
const oneDigit = '\\p{N}'

/** Expressions as the models' own tokenizer.json have them. Source: llama-vocab.cpp of llama.cpp, which names them. */
const families: readonly Family[] = [
  { names: ['gpt-2', 'phi-2', 'mpt', 'olmo', 'jais', 'trillion', 'exaone4', 'granite-docling'], cuts: [] },
  { names: ['smollm', 'starcoder', 'refact', 'command-r', 'codeshell', 'exaone', 'minerva-7b'], cuts: [oneDigit] },
  { names: ['dbrx', 'smaug-bpe', 'glm4', 'chatglm-bpe'], cuts: [words('\\p{N}{1,3}')] },
  {
    names: ['llama-bpe', 'llama3', 'llama-v3', 'falcon3', 'falcon-h1', 'pixtral', 'midm-2.0', 'lfm2'],
    cuts: [words('\\p{N}{1,3}')],
    ignoreMerges: true,
    addsBos: true,
  },
  { names: ['qwen2', 'deepseek-r1-qwen'], cuts: [words(oneDigit)], normalizer: 'NFC' },
  { names: ['stablelm2', 'hunyuan', 'megrez', 'grok-2'], cuts: [words(oneDigit)] },
  { names: ['tekken'], cuts: [cased('', oneDigit)], ignoreMerges: true, addsBos: true },
  { names: ['gpt-4o', 'llama4'], cuts: [cased(`${contractions}?`, '\\p{N}{1,3}')] },
]

/**
 * The parts of tokenizer.json that llama.cpp knows by one name.
 *
 * @param name what `tokenizer.ggml.pre` says
 * @throws TinsmithError `unsupported` for a name without a known expression
 */
export function byteLevelParts(name: string, where: string): ByteLevelParts {
  const family = families.find(({ names }) => names.includes(name))
  if (!family) {
    const hint = didYouMean(
      name,
      families.flatMap(({ names }) => names),
    )
    throw unsupported(name ? `the pre-tokenizer "${name}" is not known` : 'the file does not name its pre-tokenizer', { where, hint })
  }
  const { cuts, normalizer, ignoreMerges = false, addsBos = false } = family
  return { normalizer: normalizer ? { type: normalizer } : null, preTokenizer: preTokenizerOf(cuts), ignoreMerges, addsBos }
}

function preTokenizerOf(cuts: readonly string[]): Part {
  const ownWords = !cuts.length || cuts[0] === oneDigit
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: ownWords }
  const split = (cut: string) =>
    cut === oneDigit
      ? { type: 'Digits', individual_digits: true }
      : { type: 'Split', pattern: { Regex: cut }, behavior: 'Isolated', invert: false }
  return cuts.length ? { type: 'Sequence', pretokenizers: [...cuts.map(split), bytes] } : bytes
}
