import type { Folder } from '../../src/base/bytes.js'
import { TinsmithError } from '../../src/base/errors.js'
import { placeWebRuntime } from '../../src/engine/ort/runtime.browser.js'
import { chart, smoothed } from '../../src/report/curves.js'
import { table } from '../../src/report/table.js'
import { bytesText, metricText, plainNumber } from '../../src/report/words.js'
import type { StepRecord } from '../../src/train/index.js'
import { parseExamples } from './examples.js'
import { type FineTuned, fineTune } from './fine-tune.js'
import { fetchedFolder, isAddress, pickedFolder } from './model-files.js'
import { zip } from './zip.js'

placeWebRuntime({ worker: new URL('worker.browser.js', document.baseURI), wasm: new URL('ort/', document.baseURI).href })

const element = <Type extends HTMLElement>(id: string) => document.getElementById(id) as Type
const value = (id: string) => element<HTMLInputElement>(id).value
const show = (id: string, text: string) => element(id).replaceChildren(text)

let running: AbortController | null = null

element<HTMLFormElement>('job').addEventListener('submit', (event) => {
  event.preventDefault()
  if (!running) void run()
})
element('stop').addEventListener('click', () => running?.abort())
element('examples').addEventListener('input', count)
count()

/** Says how many examples there are, or what is wrong with them. */
function count(): void {
  try {
    const examples = parseExamples(value('examples'))
    show('counted', examples.length ? `${examples.length} examples, ${new Set(examples.map(({ label }) => label)).size} classes.` : '')
  } catch (error) {
    show('counted', sentenceOf(error))
  }
}

async function run(): Promise<void> {
  running = new AbortController()
  const { signal } = running
  begin(true)
  try {
    show('status', 'Reading the model ...')
    const job = {
      source: await chosenModel(signal),
      examples: parseExamples(value('examples')),
      changes: [`epochs=${value('epochs')}`, `batchSize=${value('batch')}`, `learningRate=${value('rate')}`],
      seed: Number(value('seed')),
    }
    const records: StepRecord[] = []
    let planned = 0
    const found = await fineTune(job, {
      signal,
      onStart(steps, warnings) {
        planned = steps
        show('status', ['Training ...', ...warnings].join(' '))
      },
      onStep(record) {
        records.push(record)
        draw(records, planned)
      },
    })
    finish(found)
  } catch (error) {
    if (signal.aborted) show('status', 'Stopped.')
    else fail(error)
  } finally {
    running = null
    begin(false)
  }
}

function begin(busy: boolean): void {
  element<HTMLButtonElement>('start').disabled = busy
  element<HTMLButtonElement>('stop').disabled = !busy
  if (!busy) return
  for (const id of ['problem', 'progress', 'result']) element(id).hidden = true
}

async function chosenModel(signal: AbortSignal): Promise<Folder | string> {
  const files = [...(element<HTMLInputElement>('files').files ?? [])]
  const address = value('address').trim()
  if (files.length) return pickedFolder(files)
  if (!address) throw new TinsmithError('usage', 'Choose a model to begin with')
  return isAddress(address) ? fetchedFolder(address, signal) : address
}

function draw(records: readonly StepRecord[], planned: number): void {
  const latest = records.at(-1)!
  const points = records.map(({ step, loss }) => ({ x: step, y: loss }))
  element('progress').hidden = false
  element('curves').innerHTML = chart({
    title: 'Loss',
    along: 'step',
    curves: [
      { name: 'each step', tone: 'quiet', points },
      { name: 'smoothed', tone: 'strong', points: smoothed(points) },
    ],
  }).text
  show('step', `${latest.step} of ${planned}`)
  show('loss', plainNumber(latest.loss))
  show('time', `${plainNumber(1000 * typicalSeconds(records), 3)} ms`)
  show('copied', bytesText(latest.copiedBytes))
}

/** The median, which the first steps do not disturb. */
function typicalSeconds(records: readonly StepRecord[]): number {
  return records.map(({ seconds }) => seconds).sort((a, b) => a - b)[records.length >> 1]
}

function finish({ folder, evaluation, answers }: FineTuned): void {
  const { samples, metrics, baselines } = evaluation
  show('status', 'Done.')
  show(
    'verdict',
    `Accuracy ${metricText(metrics['accuracy'])} % on ${samples} examples that were kept from the training; always the most frequent class: ${metricText(baselines['accuracy'])} %.`,
  )
  const columns = [{ title: 'text' }, { title: 'label' }, { title: 'the model says' }, { title: 'score', number: true }]
  const rows = answers.map(({ text, label, predicted, score }) => [text, label, predicted, score.toFixed(4)])
  element('answers').innerHTML = table('What the model says of each example', columns, rows).text
  element('download').onclick = () => download(zip(folder.files), `${folder.name}.zip`)
  element('result').hidden = false
}

function download(file: Blob, name: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(file)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}

function fail(error: unknown): void {
  show('status', '')
  show('problem', sentenceOf(error))
  element('problem').hidden = false
}

function sentenceOf(error: unknown): string {
  if (error instanceof TinsmithError) return error.sentence
  return error instanceof Error ? error.message : String(error)
}
