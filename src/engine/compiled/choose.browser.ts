import type { Backend } from './backend.js'

/** Browsers run WebAssembly alone. */
export function kernelChoice() {
  return { backend: 'wasm', without: 'a browser runs no machine code' } as const
}

/** The backend for browsers: WebAssembly. */
export async function compiledBackend(): Promise<Backend> {
  return (await import('./wasm/backend.js')).wasm
}
