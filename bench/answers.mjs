// What a contestant written in JavaScript is made of; see Contestant in support.mjs.
import fs from 'node:fs'
import readline from 'node:readline'

/**
 * Answers each line `ACTION WORD...` of the standard input with what the action gives, as a line of JSON, until the input ends.
 *
 * @param {Record<string, (...words: string[]) => unknown>} actions
 */
export async function answer(actions) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [name, ...words] = line.split(' ')
    console.log(JSON.stringify((await actions[name](...words)) ?? null))
  }
  process.exit(0)
}

/** Bytes of this process in memory now; null where the system does not tell. */
export const residentBytes = () => statusBytes('VmRSS')

/** The most bytes that this process has had in memory; null where the system does not tell. */
export const peakBytes = () => statusBytes('VmHWM')

function statusBytes(field) {
  if (!fs.existsSync('/proc/self/status')) return null
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]) * 1024
}
