import type { Command } from 'commander'
import type { Act } from './action.js'
import { oneOf } from './options.js'
import { describeWritten } from './result.js'

export function addConvert(program: Command, act: Act): void {
  program
    .command('convert')
    .description('import a model and write it as transformers.js loads it')
    .argument('<source>', 'folder, .onnx file or hub id (owner/name)')
    .argument('<out>', 'folder to write')
    .option('--dtype <word>', 'fp32 or fp16', oneOf('--dtype', ['fp32', 'fp16']), 'fp32')
    .option('--force', 'replace a folder that holds files')
    .action(
      act(async (context, [source, out], options: { dtype: 'fp32' | 'fp16'; force?: boolean }) => {
        const { convert } = await import('../commands/convert.js')
        const result = await convert(source, out, { ...options, ...context })
        return { document: result, text: () => describeWritten(out, result) }
      }),
    )
}
