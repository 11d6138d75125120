import { describe, expect, it } from 'vitest'
import { TinsmithError } from '../../src/base/errors.js'
import { preset, presetNames } from '../../src/recipes/presets.js'
import { parseRecipe } from '../../src/recipes/schema.js'

const text = (...lines: string[]) => lines.join('\n')

/** The sentence that a recipe fails with. */
function failure(recipe: string, changes: readonly string[] = []): string {
  try {
    parseRecipe(recipe, 'my.yaml', changes)
  } catch (error) {
    if (error instanceof TinsmithError) return error.sentence
    throw error
  }
  throw new Error('it parsed')
}

describe('presets', () => {
  it.each(presetNames)('%s parses', async (name) => {
    const recipe = await preset(name)
    expect(recipe.name).toBe(name)
    expect(recipe.summary).toBeTruthy()
    expect(recipe.steps.length).toBeGreaterThan(0)
    if (recipe.withoutCalibration) await preset(recipe.withoutCalibration)
  })

  it('an unknown one is an error that names the nearest', async () => {
    await expect(preset('int8-dinamic')).rejects.toMatchObject({ code: 'bad-input', hint: 'Did you mean "int8-dynamic"?' })
  })
})

describe('parseRecipe', () => {
  it('reads passes with and without options, and fills in defaults', () => {
    const recipe = parseRecipe(
      text('name: mine', 'dtype: q4', 'passes:', '  - fold-constants', '  - fuse-qkv:', '  - weight-only: {bits: 8}'),
      'my.yaml',
    )
    expect(recipe).toMatchObject({ name: 'mine', dtype: 'q4', architectures: null, withoutCalibration: null })
    expect(recipe.steps.map(({ pass }) => pass.name)).toEqual(['fold-constants', 'fuse-qkv', 'weight-only'])
    expect(recipe.steps[2].options).toMatchObject({ bits: 8, blockSize: 32, include: ['**'] })
    expect(parseRecipe('{"passes": ["fold-constants"]}', 'x').name).toBe('x')
  })

  it.each([
    ['a misspelt key', text('name: mine', 'pases: [fold-constants]'), /line 2.*unknown key "pases".*Did you mean "passes"/],
    [
      'a misspelt key beside good ones',
      text('passes:', '  - fold-constants', 'dtyp: q8'),
      /line 3.*unknown key "dtyp".*Did you mean "dtype"/,
    ],
    [
      'a misspelt pass',
      text('passes:', '  - fold-constants', '  - weigth-only'),
      /line 3.*no pass "weigth-only".*Did you mean "weight-only"/,
    ],
    ['a misspelt pass with options', text('passes:', '  - weigth-only: {bits: 4}'), /line 2.*no pass "weigth-only"/],
    [
      'a misspelt option',
      text('passes:', '  - weight-only:', '      bits: 4', '      blokSize: 32'),
      /line 4.*unknown key "blokSize".*Did you mean "blockSize"/,
    ],
    ['a wrong value', text('passes:', '  - weight-only:', '      bits: 5'), /line 3.*bits/],
    ['a wrong type', text('passes:', '  - fold-constants:', '      limit: many'), /line 3.*limit.*number/],
    ['a text for a list', text('passes:', '  - weight-only:', '      include: "*"'), /line 3.*include/],
    ['an unknown dtype', text('dtype: q5', 'passes: [fold-constants]'), /line 1.*dtype/],
    ['no passes', 'name: mine', /line 1.*passes/],
    ['an empty list of passes', 'passes: []', /line 1.*passes/],
    ['passes that are no list', 'passes: fold-constants', /line 1.*passes/],
    ['two passes in one step', text('passes:', '  - fold-constants: {}', '    fuse-qkv: {}'), /line 2.*one pass/],
    ['a step without a pass', text('passes:', '  - {}'), /line 2.*one pass/],
    ['a step that is a number', text('passes:', '  - fold-constants', '  - 3'), /line 3/],
    ['a step that is nothing', text('passes:', '  - fold-constants', '  -'), /line [23]/],
    ['options that are no object', text('passes:', '  - fold-constants: 3'), /line 2/],
    ['an empty file', '', /line 1/],
    ['a list', '- fold-constants', /line 1/],
    ['a plain text', 'int8', /line 1/],
    ['broken YAML', text('passes:', '  - [fold-constants'), /line [23]/],
    ['a key twice', text('passes: [fold-constants]', 'passes: [fuse-qkv]'), /line 2/],
    ['an anchor that is not there', text('name: x', 'passes: *nowhere'), /nowhere/],
    ['an anchor in itself', text('passes: &a', '  - *a'), /.+/],
    ['an optional pass that is not there', text('passes: [fuse-qkv]', 'optional: [fuse-kv]'), /line 2.*fuse-kv/],
    ['inherited keys', text('passes:', '  - toString'), /line 2.*no pass "toString"/],
    ['inherited keys as options', text('passes:', '  - fold-constants: {constructor: 1}'), /line 2.*constructor/],
  ])('%s', (_, recipe, expected) => {
    const sentence = failure(recipe)
    expect(sentence).toMatch(expected)
    expect(sentence).toContain('my.yaml')
    expect(sentence.split('\n')).toHaveLength(1)
    expect(sentence).not.toMatch(/undefined|\[object/)
  })

  it('does not grow without bound from anchors of anchors', () => {
    const bomb = ['a: &a [x, x, x, x, x, x, x, x, x]']
    for (let i = 1; i < 12; i++) {
      const [name, before] = ['abcdefghijkl'[i], 'abcdefghijkl'[i - 1]]
      bomb.push(`${name}: &${name} [${new Array(9).fill(`*${before}`).join(', ')}]`)
    }
    expect(failure(text(...bomb))).toMatch(/my.yaml/)
  })
})

describe('--set', () => {
  const recipe = text('passes:', '  - fold-constants', '  - weight-only: {bits: 4}')

  it('changes options, with the types of YAML', () => {
    const { steps } = parseRecipe(recipe, 'my.yaml', [
      'weight-only.bits=8',
      'weight-only.include=[a, b]',
      'weight-only.search=false',
      'fold-constants.limit=7',
    ])
    expect(steps[1].options).toMatchObject({ bits: 8, include: ['a', 'b'], search: false })
    expect(steps[0].options).toMatchObject({ limit: 7 })
  })

  it.each([
    ['weight-only.bits=3', /bits/],
    ['weight-only.bit=8', /unknown key "bit".*Did you mean "bits"/],
    ['weigth-only.bits=8', /fits no pass.*Did you mean "weight-only"/],
    ['static-int8.rows=64', /fits no pass/],
    ['bits=8', /pass\.option=value/],
    ['weight-only.bits', /pass\.option=value/],
    ['', /pass\.option=value/],
    ['weight-only.include=[', /include.*YAML/],
  ])('%s', (change, expected) => {
    expect(failure(recipe, [change])).toMatch(expected)
  })
})
