// llama.cpp as a contestant: built once from the sources inside llama-cpp-python's package, kept in the system's temporary folder.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { measure } from '../support.mjs'

const release = '0.3.36'
const kept = path.join(os.tmpdir(), 'tinsmith-bench-llama.cpp')
const cmakeOptions = ['BUILD_TESTS', 'BUILD_EXAMPLES', 'BUILD_SERVER', 'OPENSSL'].map((name) => `-DLLAMA_${name}=OFF`)

/**
 * Paths of llama-bench and llama-quantize.
 *
 * @throws Error where there is no pip, tar, CMake or compiler
 */
export async function llamaCpp() {
  const build = path.join(kept, 'build')
  const [bench, quantize] = ['llama-bench', 'llama-quantize'].map((name) => path.join(build, 'bin', name))
  const versions = { 'llama.cpp': `of llama-cpp-python ${release}` }
  if (fs.existsSync(bench) && fs.existsSync(quantize)) return { bench, quantize, versions }
  console.error('building llama.cpp (some minutes) ...')
  const unpacked = path.join(kept, 'package')
  fs.mkdirSync(unpacked, { recursive: true })
  const download = ['download', '--no-deps', '--no-binary', 'llama-cpp-python', `llama-cpp-python==${release}`, '-d', kept]
  await measure('python3', ['-m', 'pip', ...download])
  await measure('tar', ['-xzf', path.join(kept, `llama_cpp_python-${release}.tar.gz`), '-C', unpacked, '--strip-components', '1'])
  const source = path.join(unpacked, 'vendor/llama.cpp')
  await measure('cmake', ['-S', source, '-B', build, '-DCMAKE_BUILD_TYPE=Release', '-DBUILD_SHARED_LIBS=OFF', ...cmakeOptions])
  await measure('cmake', ['--build', build, '--target', 'llama-bench', 'llama-quantize', '-j', String(os.availableParallelism())])
  return { bench, quantize, versions }
}

/** A GGUF file in another of llama.cpp's types, made once. */
export async function quantized({ quantize }, file, type) {
  const out = path.join(kept, `${path.basename(file, '.gguf')}-${type}.gguf`)
  if (fs.existsSync(out)) return out
  await measure(quantize, ['--allow-requantize', file, `${out}.part`, type])
  fs.renameSync(`${out}.part`, out)
  return out
}

/** Answers `run generate` and `run prompt512` as a Contestant does: llama-bench is a process of its own each time. */
export function llamaContestant({ bench }, file, { threads, prompt, generated }) {
  const tests = { prompt512: ['-p', prompt, '-n', 0], generate: ['-p', 0, '-n', generated] }
  const ask = async (line) => {
    const [, job] = line.split(' ')
    const { stdout } = await measure(bench, ['-m', file, '-t', threads, '-r', 1, '-o', 'json', ...tests[job]].map(String))
    return { milliseconds: JSON.parse(stdout)[0].avg_ns / 1e6 }
  }
  return { ask, end: () => {} }
}
