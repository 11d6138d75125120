import type { Node, Value } from '../../../../ir/node.js'
import type { ActivationFunction, BinaryOperator, StepOf, View } from '../steps.js'
import type { TranslationRule, TranslationRules, Translator } from '../translator.js'
import { sumOfLookups } from './embeddings.js'

/** Sums, products and activations. */
export const elementwiseRules: TranslationRules = {
  Add: (node, translator) => sumOfLookups(node, translator) || fuseSum(node, translator) || combine('add')(node, translator),
  Mul: (node, translator) => masked(node, translator) || gated(node, translator) || combine('multiply')(node, translator),
  Sub: (node, translator) => combine('subtract')(node, translator),
  Div: (node, translator) => combine('divide')(node, translator),
  Max: (node, translator) => combine('maximum')(node, translator),
  Gelu: activation((node) => (node.string('approximate', 'none') === 'tanh' ? 'gelu-tanh' : 'gelu')),
  Swish: activation((node) => (node.float('alpha', 1) === 1 ? 'silu' : undefined)),
  Relu: activation(() => 'relu'),
  Tanh: activation(() => 'tanh'),
  Sigmoid: activation(() => 'sigmoid'),
  'com.microsoft.QuickGelu': activation((node) => (Math.abs(node.float('alpha', 1.702) - 1.702) < 1e-6 ? 'quick-gelu' : undefined)),
  Cast: (node, translator) => asItIs(node, translator),
  Identity: (node, translator) => asItIs(node, translator),
}

function asItIs(node: Node, translator: Translator): boolean {
  const meaning = translator.meaning(node.input(0))
  if (isMask(node.input(0), node.output, translator)) return translator.mean(node.output, { kind: 'ones' })
  return meaning !== undefined && meaning.kind !== 'host' && meaning.kind !== 'ones' && translator.mean(node.output, meaning)
}

/** The attention mask of the tokens that are fed, as numbers. */
function isMask(value: Value | null, { dtype }: Value, { graph }: Translator): boolean {
  const isInput = value !== null && graph.inputs.includes(value) && value.name === 'attention_mask'
  const sequence = graph.inputs.find(({ name }) => name === 'input_ids')?.shape?.[1]
  return isInput && dtype === 'float32' && value.shape?.[1] === sequence
}

function pairs(node: Node): [Value, Value][] {
  const [a, b] = [node.input(0)!, node.input(1)!]
  return [
    [a, b],
    [b, a],
  ]
}

/** A bias or a residual becomes part of the product that it is added to. */
function fuseSum(node: Node, translator: Translator): boolean {
  for (const [product, other] of pairs(node)) {
    const source = translator.onlySource(product, 'linear')
    const rows = translator.rows(product)
    if (!source || !rows || source.step.residual) continue
    const { step, replace } = source
    if (other.tensor) {
      if (step.bias || step.activation || other.tensor.size !== rows.view.columns) continue
      replace({ ...step, bias: other.tensor })
      return translator.mean(node.output, rows)
    }
    const residual = translator.rows(other)
    if (residual?.view.columns !== rows.view.columns || residual.view.buffer.per !== rows.view.buffer.per) continue
    if (!translator.isWrittenBefore(residual.view, translator.onlySource(product, 'linear')!.step)) continue
    replace({ ...step, residual: residual.view })
    return translator.mean(node.output, rows)
  }
  return false
}

/** Padding times a mask: there is no padding. */
function masked(node: Node, translator: Translator): boolean {
  return pairs(node).some(([value, mask]) => {
    const rows = translator.rows(value)
    return rows?.view.buffer.per === 'token' && translator.meaning(mask)?.kind === 'ones' && translator.mean(node.output, rows)
  })
}

/** activation(a) * b is one step. */
function gated(node: Node, translator: Translator): boolean {
  return pairs(node).some(([value, other]) => {
    const gate = translator.rows(other)
    const rows = translator.rows(value)
    if (!gate || !rows || gate.view.columns !== rows.view.columns) return false
    const name = detachActivation(value, translator)
    if (!name) return false
    const { per } = rows.view.buffer
    return translator.addRows(node.output, per, rows.inner, (output) => ({
      kind: 'activation',
      function: name,
      input: rows.view,
      gate: gate.view,
      output,
    }))
  })
}

/** Takes the activation off the product that ends in it, where only one node reads it. */
function detachActivation(value: Value, translator: Translator): ActivationFunction | undefined {
  const source = translator.onlySource(value, 'linear')
  const name = source?.step.activation
  if (!source || !name || source.step.residual) return undefined
  source.replace({ ...source.step, activation: undefined } satisfies StepOf<'linear'>)
  return name
}

function activation(functionOf: (node: Node) => ActivationFunction | undefined): TranslationRule {
  return (node, translator) => {
    const value = node.input(0)!
    const name = functionOf(node)
    const rows = translator.rows(value)
    if (!name || !rows) return false
    const source = translator.onlySource(value, 'linear')
    if (source && !source.step.activation && !source.step.residual) {
      source.replace({ ...source.step, activation: name })
      return translator.mean(node.output, rows)
    }
    const { per } = rows.view.buffer
    return translator.addRows(node.output, per, rows.inner, (output) => ({ kind: 'activation', function: name, input: rows.view, output }))
  }
}

const commutes: ReadonlySet<BinaryOperator> = new Set(['add', 'multiply', 'maximum'])

function combine(operator: BinaryOperator): TranslationRule {
  return (node, translator) =>
    pairs(node)
      .slice(0, commutes.has(operator) ? 2 : 1)
      .some(([left, right]) => {
        const rows = translator.rows(left)
        if (!rows || node.inputs.length !== 2) return false
        const operand = operandOf(right, rows.view, translator)
        if (!operand) return false
        const { per } = rows.view.buffer
        return translator.addRows(node.output, per, rows.inner, (output) => ({
          kind: 'combine',
          operator,
          left: rows.view,
          right: operand,
          output,
        }))
      })
}

function operandOf(value: Value, { buffer, columns }: View, translator: Translator) {
  const fits = (count: number) => count === columns || count === 1
  if (value.tensor) return fits(value.tensor.size) && value.tensor.shape.length <= 1 ? value.tensor : undefined
  const rows = translator.rows(value)
  return rows && rows.view.buffer.per === buffer.per && fits(rows.view.columns) ? rows.view : undefined
}
