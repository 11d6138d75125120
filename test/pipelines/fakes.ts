import type { Feeds, Output, Port, RunOptions, Session } from '../../src/engine/session.js'
import type { NDArray } from '../../src/numbers/dtype.js'
import { defaultPooling, Pipeline, type PipelineParts, Tokenizer } from '../../src/pipelines/index.js'

/** An output that knows whether it was freed. */
export interface FakeOutput extends Output {
  disposed: boolean
}

/** A session that computes in JavaScript and keeps what it was fed. */
export class FakeSession implements Session {
  readonly engine = 'fake'
  readonly runs: Feeds[] = []
  readonly made: FakeOutput[] = []

  constructor(
    readonly inputs: readonly Port[],
    readonly outputs: readonly Port[],
    private readonly compute: (feeds: Feeds) => Record<string, NDArray>,
  ) {}

  async run(feeds: Feeds, { outputs }: RunOptions = {}): Promise<Record<string, Output>> {
    this.runs.push(feeds)
    const wanted = Object.entries(this.compute(feeds)).filter(([name]) => !outputs || outputs.includes(name))
    return Object.fromEntries(wanted.map(([name, array]) => [name, this.#output(array)]))
  }

  #output(array: NDArray): Output {
    const output: FakeOutput = {
      ...array,
      disposed: false,
      dispose() {
        this.disposed = true
      },
    }
    this.made.push(output)
    return output
  }

  async profile() {
    return []
  }

  async dispose() {}
}

export function port(name: string, shape: readonly (number | string)[], dtype: Port['dtype'] = 'int64'): Port {
  return { name, shape, dtype }
}

export const textPorts = ['input_ids', 'attention_mask'].map((name) => port(name, ['batch_size', 'sequence_length']))

const special = (id: number, content: string) => ({
  id,
  content,
  special: true,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
})

export const words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'a', 'b', 'c', 'd', '##e', 'paris', 'ada', 'lovelace', 'in', 'was', ',', '.']

/** A BERT tokenizer of few words: tokenizer.json. */
export const wordPieceDefinition = {
  version: '1.0',
  added_tokens: words.slice(0, 4).map((word, id) => special(id, word)),
  normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true },
  pre_tokenizer: { type: 'BertPreTokenizer' },
  post_processor: {
    type: 'TemplateProcessing',
    single: [
      { SpecialToken: { id: '[CLS]', type_id: 0 } },
      { Sequence: { id: 'A', type_id: 0 } },
      { SpecialToken: { id: '[SEP]', type_id: 0 } },
    ],
    pair: [
      { SpecialToken: { id: '[CLS]', type_id: 0 } },
      { Sequence: { id: 'A', type_id: 0 } },
      { SpecialToken: { id: '[SEP]', type_id: 0 } },
      { Sequence: { id: 'B', type_id: 1 } },
      { SpecialToken: { id: '[SEP]', type_id: 1 } },
    ],
    special_tokens: {
      '[CLS]': { id: '[CLS]', ids: [2], tokens: ['[CLS]'] },
      '[SEP]': { id: '[SEP]', ids: [3], tokens: ['[SEP]'] },
    },
  },
  decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  model: {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
    vocab: Object.fromEntries(words.map((word, id) => [word, id])),
  },
}

export const wordPieceConfig = { pad_token: '[PAD]', sep_token: '[SEP]', cls_token: '[CLS]' }

/** A byte-level tokenizer whose tokens are single bytes, and 256 is its end token. */
export function byteTokenizer(): Tokenizer {
  const vocab = Object.fromEntries(byteSymbols().map((symbol, byte) => [symbol, byte]))
  return new Tokenizer(
    {
      version: '1.0',
      added_tokens: [special(256, '<end>')],
      normalizer: null,
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
      post_processor: null,
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: { type: 'BPE', unk_token: null, continuing_subword_prefix: '', end_of_word_suffix: '', fuse_unk: false, vocab, merges: [] },
    },
    { eos_token: '<end>', clean_up_tokenization_spaces: false },
    {
      maxLength: 1000,
      chatTemplate:
        '{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}bot:{% endif %}',
    },
  )
}

/** GPT-2's printable stand-ins for the 256 bytes. */
function byteSymbols(): string[] {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++))
}

export function pipelineOf(session: Session, parts: Partial<PipelineParts> = {}): Pipeline {
  const tokenizer = new Tokenizer(wordPieceDefinition, wordPieceConfig, { maxLength: 16 })
  return new Pipeline({ name: 'fake', session, tokenizer, config: {}, generationConfig: {}, pooling: defaultPooling, ...parts })
}
