/** Names, and endings after a folder like `1_Pooling/`, of files that belong to a model beside its weights. */
const travelling = [
  /^config\.json$/,
  /^generation_config\.json$/,
  /^tokenizer(_config)?\.json$/,
  /^(special_tokens_map|added_tokens)\.json$/,
  /^vocab\.(txt|json)$/,
  /^(merges\.txt|bpe\.codes)$/,
  /^(tokenizer|spiece|sentencepiece(\.bpe)?|source|target)\.(model|spm)$/,
  /^(preprocessor|image_processor|feature_extractor|video_preprocessor|processor)_config\.json$/,
  /^chat_template\.(jinja|json)$/,
  /^additional_chat_templates\/[^/]+\.jinja$/,
  /^(modules|config_sentence_transformers|sentence_[a-z]+_config)\.json$/,
  /^\d+_[A-Za-z]+\/(config\.json|model\.safetensors)$/,
  /^(LICEN[CS]E|NOTICE|USE_POLICY)[^/]*$/i,
]

/**
 * The files of a model folder that travel along unchanged when the weights are rewritten: configuration, tokenizer, preprocessor,
 * pooling, licence.
 *
 * @example
 * travellingFiles(['config.json', 'model.safetensors', '1_Pooling/config.json']) // ['1_Pooling/config.json', 'config.json']
 */
export function travellingFiles(files: readonly string[]): string[] {
  return files.filter((file) => travelling.some((pattern) => pattern.test(file))).sort()
}
