import { type Html, html } from './html.js'

/** Two numbers to be seen beside each other. */
export interface Pair {
  readonly name: string
  /** What the comparison comes to, as in `3.9 times smaller`. */
  readonly verdict: string
  readonly before: { readonly value: number; readonly text: string }
  readonly after: { readonly value: number; readonly text: string }
}

/** A tile with the verdict and a bar for each of the two numbers, on one scale from 0. */
export function barTile({ name, verdict, before, after }: Pair): Html {
  const most = Math.max(Math.abs(before.value), Math.abs(after.value), Number.MIN_VALUE)
  const row = (label: string, { value, text }: Pair['before']) => html`
      <span>${label}</span>
      <svg class="bar ${label}" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="10" /><rect width="${(100 * Math.abs(value)) / most}" height="10" /></svg>
      <span class="number">${text}</span>`
  return html`
  <article class="tile">
    <h3>${name}</h3>
    <p class="verdict">${verdict}</p>
    <div class="bars">${row('before', before)}${row('after', after)}
    </div>
  </article>`
}
