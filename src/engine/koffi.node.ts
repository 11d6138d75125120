import koffi from 'koffi'

/** Held because koffi unloads a library whose handle is collected. */
let library: ReturnType<typeof koffi.load> | undefined

/**
 * The library of the operating system: kernel32 on Windows, what the process itself is linked with elsewhere. Whoever
 * loads another one calls this first: koffi's settings are fixed by the first load of a process, and a thread may call
 * functions by their address only after it has loaded a library itself.
 */
export function system(): ReturnType<typeof koffi.load> {
  if (library) return library
  // Calls on worker threads run on a stack of koffi's making, 128 KiB unless told otherwise: too little for kernels
  // and optimizers. Only touched pages take memory.
  try {
    koffi.config({ async_stack_size: 8 * 2 ** 20 })
  } catch {
    // Someone has loaded a library before; koffi's settings are fixed then.
  }
  library = koffi.load(process.platform === 'win32' ? 'kernel32.dll' : null)
  return library
}

/** koffi, which calls C functions, ready for use on this thread. */
export function native(): typeof koffi {
  system()
  return koffi
}
