import { describe, expect, test } from 'vitest'
import { Value } from '../../src/ir/node.js'
import { resolveGroups } from '../../src/train/groups.js'

const parameters = [
  new Value('encoder.layer.0.query.weight', 'float32', [4, 4]),
  new Value('encoder.layer.0.query.bias', 'float32', [4]),
  new Value('encoder.layer.1.query.weight', 'float32', [4, 4]),
  new Value('classifier.weight', 'float32', [4, 2]),
]
const resolve = (groups: Parameters<typeof resolveGroups>[1], decay = 0.1) =>
  resolveGroups(parameters, groups, decay).map(({ parameters: members, rate, weightDecay }) => ({
    names: members.map((member) => member.name),
    rate,
    weightDecay,
  }))

describe('groups', () => {
  test('matrices decay, vectors do not', () => {
    expect(resolve([])).toEqual([
      { names: [parameters[0].name, parameters[2].name, parameters[3].name], rate: 1, weightDecay: 0.1 },
      { names: [parameters[1].name], rate: 1, weightDecay: 0 },
    ])
  })

  test('the first glob that matches counts; a rate of 0 freezes', () => {
    expect(
      resolve([
        { match: 'encoder.layer.0.**', rate: 0 },
        { match: 'encoder.**', rate: 0.5, weightDecay: 0 },
        { match: 'classifier.*', rate: 2 },
      ]),
    ).toEqual([
      { names: [parameters[2].name], rate: 0.5, weightDecay: 0 },
      { names: [parameters[3].name], rate: 2, weightDecay: 0.1 },
    ])
  })

  test('a glob without a match is an error that names the nearest parameter, and so is freezing all', () => {
    expect(() => resolve([{ match: 'clasifier.weight' }])).toThrowError(
      expect.objectContaining({ code: 'bad-input', hint: 'Did you mean "classifier.weight"?' }),
    )
    expect(() => resolve([{ match: '**', rate: 0 }])).toThrowError(/no parameter is left/)
  })
})
