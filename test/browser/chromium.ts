import { existsSync } from 'node:fs'

/** Where Chromium is; null (and a message) where it is absent. */
export function chromiumPath(): string | null {
  const file = process.env['CHROMIUM'] ?? '/usr/bin/chromium'
  if (existsSync(file)) return file
  console.warn(`Skipped: no Chromium at ${file}. Install it, or tell where it is in the variable CHROMIUM.`)
  return null
}

export const chromiumArguments = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]
