import type { Command } from 'commander'
import type { CompressOptions } from '../commands/compress.js'
import type { Act } from './action.js'
import { several, wholeNumber } from './options.js'
import { describeWritten } from './result.js'

const examples = `
Examples:
  tinsmith compress sentence-transformers/all-MiniLM-L6-v2 minilm-int8 --calibrate train.csv --evaluate sts=dev.csv
  tinsmith compress ./llama llama-int4 --recipe int4
  tinsmith compress ./bert bert-mine --recipe mine.yaml --set dynamic-int8.exclude=[classifier]

Without --calibrate, decoders write their own calibration text and encoders use a recipe that needs none.
tinsmith list recipes and tinsmith list passes say what there is.`

export function addCompress(program: Command, act: Act): void {
  program
    .command('compress')
    .description('make a model thinner by a recipe')
    .argument('<source>', 'folder, .onnx file or hub id (owner/name)')
    .argument('<out>', 'folder to write')
    .option('--recipe <name|file>', 'a preset (tinsmith list recipes) or a YAML file', 'int8')
    .option('--calibrate <file>', 'texts like those that the model will see (text, CSV, JSONL)')
    .option('--evaluate <task=file>', 'what to measure before and after, as in sts=dev.csv')
    .option('--set <pass.option=value>', 'change an option of a pass; may come several times', several)
    .option('--columns <names>', 'which columns of tables hold what, as in text=0,label=2')
    .option('--tokens <n>', 'language-model: tokens that are scored', wholeNumber('--tokens', 2))
    .option('--window <n>', 'language-model: tokens of a window', wholeNumber('--window', 2))
    .option('--seed <n>', 'of all that is drawn', wholeNumber('--seed'), 0)
    .option('--keep-fp32', 'write the model in floats too')
    .option('--report <folder>', 'write report.json and report.html there')
    .option('--fresh', 'take over nothing from an earlier run')
    .option('--force', 'replace a folder that holds files')
    .addHelpText('after', examples)
    .action(
      act(async (context, [source, out], options: CompressOptions) => {
        const { compress } = await import('../commands/compress.js')
        const result = await compress(source, out, { ...options, ...context })
        return { document: result, text: () => describeWritten(out, result) }
      }),
    )
}
