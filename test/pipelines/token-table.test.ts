import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DiskFolder } from '../../src/base/files.node.js'
import { openTokenizer, Tokenizer } from '../../src/pipelines/index.js'
import { parseDefinition, TokenTable } from '../../src/pipelines/token-table.js'
import { modelPath } from '../support/shared.js'
import { wordPieceConfig, wordPieceDefinition } from './fakes.js'

const vocabularies = fc.dictionary(fc.string({ unit: 'binary' }), fc.nat({ max: 300 }), { minKeys: 1 })

describe('a table of tokens', () => {
  it('says what the JSON object says, however it is spaced', () => {
    fc.assert(
      fc.property(vocabularies, fc.constantFrom(0, 2), fc.array(fc.string()), (vocabulary, space, absent) => {
        const table = new TokenTable(JSON.stringify(vocabulary, null, space))
        for (const token of [...Object.keys(vocabulary), ...absent])
          expect(table.get(token)).toBe(Object.hasOwn(vocabulary, token) ? vocabulary[token] : undefined)
        for (const [id, token] of Object.entries(table.tokens())) expect(vocabulary[token]).toBe(Number(id))
      }),
    )
  })

  it('is asked as often as one likes', () => {
    const vocabulary = Object.fromEntries(Array.from({ length: 300 }, (_, id) => [`"${id}\\`, id]))
    const table = new TokenTable(JSON.stringify(vocabulary))
    for (const [token, id] of Object.entries(vocabulary)) expect([table.get(token), table.get(`${token}a`)]).toEqual([id, undefined])
  })

  it('reads characters that are written as numbers', () => {
    expect(new TokenTable('{"\\u00e4":1,"b\\/":2}').get('ä')).toBe(1)
  })

  it('takes those that are set', () => {
    const table = new TokenTable('{"a":1,"b":2}')
    table.set('b', 4)
    expect([table.get('a'), table.get('b'), table.has('c')]).toEqual([1, 4, false])
    expect(table.tokens()[4]).toBe('b')
  })

  it('stands in for the tokens of WordPiece models alone', () => {
    const model = (type: string) => ({ added_tokens: [{ content: '"vocab": {' }], model: { type, vocab: { a: 0, '##b': 1 } } })
    for (const type of ['BPE', 'Unigram']) expect(parseDefinition(JSON.stringify(model(type)))).toEqual(model(type))
    const { model: read } = parseDefinition(JSON.stringify(model('WordPiece'))) as { model: { vocab: TokenTable } }
    expect(read.vocab.tokens()).toEqual(['a', '##b'])
    for (const text of ['{"model": {"vocab": {"a": 1}', '{"model": {"vocab": {"a\n": 1}}}'])
      expect(() => parseDefinition(text)).toThrow(SyntaxError)
  })

  it('gives the ids that the library gives', () => {
    const tokenizer = new Tokenizer(parseDefinition(JSON.stringify(wordPieceDefinition)) as object, wordPieceConfig)
    const plain = new Tokenizer(wordPieceDefinition, wordPieceConfig)
    expect(tokenizer.vocabularySize).toBe(plain.vocabularySize)
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', 'b', 'be', 'c', 'x', '[CLS]')), (words) => {
        const ids = plain.ids(words.join(' '))
        expect(tokenizer.ids(words.join(' '))).toEqual(ids)
        expect(tokenizer.decode(ids)).toBe(plain.decode(ids))
      }),
    )
  })

  const folder = modelPath('all-MiniLM-L6-v2')
  it.skipIf(!folder)('gives the ids that the library gives, on a real vocabulary', async () => {
    const document = JSON.parse(fs.readFileSync(path.join(folder!, 'tokenizer.json'), 'utf8')) as object
    const [tokenizer, plain] = [await openTokenizer(await DiskFolder.open(folder!)), new Tokenizer(document)]
    expect(tokenizer.vocabularySize).toBe(plain.vocabularySize)
    const text = `${plain.decode([...Array(20_000).keys()])} Ünïcödé 你好 naïveté tokenization-heavy 🤗 unaffable`
    expect(tokenizer.ids(text)).toEqual(plain.ids(text))
  })
})
