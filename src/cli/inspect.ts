import type { Command } from 'commander'
import type { InspectedGraph, InspectOptions, InspectResult } from '../commands/inspect.js'
import type { Act } from './action.js'
import { attentionOption, cacheOption } from './options.js'
import { count, size, table } from './words.js'

export function addInspect(program: Command, act: Act): void {
  program
    .command('inspect')
    .description('what a model is made of: blocks, roles, shapes, dtypes, sizes')
    .argument('<model>', 'folder, .onnx file or hub id (owner/name)')
    .option('--graph', 'the text of the graph in canonical form')
    .option('--plan', 'the steps that the compiled engine makes of it, with bytes and operations')
    .addOption(cacheOption())
    .addOption(attentionOption())
    .action(
      act(async (context, [model], options: InspectOptions) => {
        const { inspect } = await import('../commands/inspect.js')
        const result = await inspect(model, { ...options, ...context })
        return { document: result, text: () => describe(result) }
      }),
    )
}

function describe({ type, graphs }: InspectResult): string {
  return [
    `type: ${type}`,
    ...Object.entries(graphs).flatMap(([name, graph]) => [
      graph.text ?? describeGraph(name, graph),
      ...(graph.plan ? [describePlan(name, graph.plan)] : []),
    ]),
  ].join('\n\n')
}

function describeGraph(name: string, { blocks, parameters, bytes, operators }: InspectedGraph): string {
  const rows = blocks.flatMap((block) => {
    const { kind, heads, kvHeads, headSize } = block.mixer
    const mixer = `${kind}${heads ? ` ${heads}${kvHeads && kvHeads !== heads ? `:${kvHeads}` : ''} x ${headSize ?? '?'}` : ''}`
    return Object.entries(block.linears).map(([role, linear], i) => [
      i ? '' : block.name,
      i ? '' : mixer,
      role,
      `${linear.in} x ${linear.out}`,
      linear.dtype,
    ])
  })
  const counts = Object.entries(operators).map(([operator, number]) => `${operator} ${number}`)
  return [
    `${name}: ${count(blocks.length, 'block')}, ${count(parameters, 'parameter')}, ${size(bytes)}`,
    ...(rows.length ? [table(['block', 'mixer', 'linear', 'in x out', 'dtype'], rows)] : []),
    `operators: ${counts.join(', ')}`,
  ].join('\n\n')
}

function describePlan(name: string, plan: NonNullable<InspectedGraph['plan']>): string {
  if ('refused' in plan) return `plan of ${name}: ${plan.refused}`
  const rows = plan.steps.map((step, i) => [
    String(i + 1),
    step.kind,
    step.name,
    step.details.join(', '),
    `${step.columns} a ${step.rows}`,
    step.constantBytes ? size(step.constantBytes) : '',
    size(step.bytesPerRow),
    step.operationsPerRow.toLocaleString('en'),
  ])
  const cache = plan.cacheBytesPerToken ? `, caches ${size(plan.cacheBytesPerToken)} a token` : ''
  return [
    `plan of ${name}: ${count(plan.steps.length, 'step')} on ${plan.backend}${plan.without ? ` (${plan.without})` : ''}`,
    table(['', 'step', 'output', 'with', 'columns', 'constants', 'bytes a row', 'operations a row'], rows),
    `arena ${size(plan.bytesPerToken)} a token and ${size(plan.bytesPerSequence)} a sequence${cache}; constants ${size(plan.constantBytes)}`,
  ].join('\n\n')
}
