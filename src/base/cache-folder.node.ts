import os from 'node:os'
import path from 'node:path'

export function environment(name: string): string | undefined {
  return process.env[name] || undefined
}

export function cacheFolder(): string {
  const given = environment('TINSMITH_CACHE')
  if (given) return path.resolve(given)
  if (process.platform === 'win32') return path.join(environment('LOCALAPPDATA') ?? path.join(os.homedir(), 'AppData', 'Local'), 'tinsmith')
  if (process.platform === 'darwin') return path.join(os.homedir(), 'Library', 'Caches', 'tinsmith')
  return path.join(environment('XDG_CACHE_HOME') ?? path.join(os.homedir(), '.cache'), 'tinsmith')
}
