import type { Command } from 'commander'
import type { TrainCommandOptions } from '../commands/train.js'
import type { Act } from './action.js'
import { several, wholeNumber } from './options.js'
import { describeTrained } from './result.js'

const examples = `
Examples:
  tinsmith train distilbert-base-uncased spam --recipe classifier --data train.csv --evaluate classification=dev.csv
  tinsmith train ./minilm minilm-3 --recipe distil --data texts.txt --set student.layers=3
  tinsmith train ./llama llama-mine --recipe language-model --data notes.txt --set epochs=2

A run that was stopped goes on when the same command is given again; until it ends, its state lies in OUT.training.
tinsmith list recipes says which recipes there are.`

export function addTrain(program: Command, act: Act): void {
  program
    .command('train')
    .description('train, fine-tune or distil a model by a recipe')
    .argument('<source>', 'folder, .onnx or .gguf file or hub id (owner/name)')
    .argument('<out>', 'folder to write')
    .requiredOption('--recipe <name|file>', 'a preset for training (tinsmith list recipes) or a YAML file')
    .requiredOption('--data <file>', 'what is learned from (text, CSV, JSONL; a folder of images)')
    .option('--evaluate <task=file>', 'what to measure on the way, as in sts=dev.csv; the best parameters are kept')
    .option('--teacher <source>', 'what distillation learns from; default the source')
    .option('--set <path=value>', 'change a setting of the recipe; may come several times', several)
    .option('--columns <names>', 'which columns of tables hold what, as in text=0,label=2')
    .option('--report <folder>', 'write report.json and report.html there')
    .option('--seed <n>', 'of all that is drawn', wholeNumber('--seed'), 0)
    .option('--force', 'replace a folder that holds files')
    .addHelpText('after', examples)
    .action(
      act(async (context, [source, out], options: TrainCommandOptions) => {
        const { train } = await import('../commands/train.js')
        const result = await train(source, out, { ...options, ...context })
        return { document: result, text: () => describeTrained(out, result) }
      }),
    )
}
