import type { Command } from 'commander'
import type { InspectedGraph, InspectResult } from '../commands/inspect.js'
import type { Act } from './program.js'
import { count, size, table } from './words.js'

export function addInspect(program: Command, act: Act): void {
  program
    .command('inspect')
    .description('what a model is made of: blocks, roles, shapes, dtypes, sizes')
    .argument('<model>', 'folder, .onnx file or hub id (owner/name)')
    .option('--graph', 'the text of the graph in canonical form')
    .action(
      act(async (context, [model], options: { graph?: boolean }) => {
        const { inspect } = await import('../commands/inspect.js')
        const result = await inspect(model, { ...options, ...context })
        return { document: result, text: () => describe(result) }
      }),
    )
}

function describe({ type, graphs }: InspectResult): string {
  return [`type: ${type}`, ...Object.entries(graphs).map(([name, graph]) => graph.text ?? describeGraph(name, graph))].join('\n\n')
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
