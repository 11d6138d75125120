/**
 * ONNX Runtime's message as one line for people: without places and function names of its own source, the failing node
 * first.
 *
 * @example
 * sentenceOf("Non-zero status code returned while running Add node. Name:'y' Status Message: 2 by 3") // "node 'y' (Add): 2 by 3"
 */
export function sentenceOf(message: string): string {
  return message
    .replace(/\s+/g, ' ')
    .replace(/^.*?ERROR_CODE: \d+, ERROR_MESSAGE: /, '')
    .replace(/Non-zero status code returned while running (\S+) node\. Name:('[^']*') Status Message: /g, 'node $2 ($1): ')
    .replace(/\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : /g, '')
    .replace(/\S*\/onnxruntime\/\S*\.(?:cc|cpp|h):\d+ /g, '')
    .replace(/\b\w+\.(?:cc|cpp|h):\d+ \w+ /g, '')
    .replace(/(?:\b(?:virtual|static) )?(?:[\w:]+(?:<[^>]*>)?[*&]* )?\bonnxruntime::[\w:~<>]+\([^)]*\)(?: const)? /g, '')
    .trim()
    .replace(/[.\s]+$/, '')
}

/** True for messages that say that memory could not be had. */
export function isOutOfMemory(message: string): boolean {
  return /bad_alloc|failed to allocate memory|out of memory|cannot allocate|could not allocate/i.test(message)
}
