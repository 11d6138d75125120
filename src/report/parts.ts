/** What all reports have. */
import { type Html, html } from './html.js'
import type { Report } from './report.js'
import { style } from './style.js'
import { table } from './table.js'
import { bytesText } from './words.js'

/** The page around its content. */
export function wholePage(title: string, subtitle: string, content: Html, { versions }: Report['origin']): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} - Tinsmith report</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>${title}</h1>
<p class="quiet">${subtitle}</p>
</header>
<main>${content}</main>
<footer><p>Written by Tinsmith ${versions['tinsmith']}. The same figures for programs: <code>report.json</code>.</p></footer>
</body>
</html>
`.text
}

/** What a person should know; nothing where there is nothing. */
export function warnings(list: readonly string[]): Html | null {
  if (!list.length) return null
  return html`<section class="warnings"><h2>Warnings</h2><ul>${list.map((warning) => html`<li>${warning}</li>`)}</ul></section>`
}

/** What was written. */
export function files({ files: list }: Pick<Report, 'files'>): Html {
  const rows = list.map(({ path, bytes }) => [html`<code>${path}</code>`, bytesText(bytes)])
  return html`
<section>
<h2>Files</h2>
${table('Files that were written', [{ title: 'file' }, { title: 'size', number: true }], rows)}
</section>`
}

/** The command that gives the same again, and all that it depends on. */
export function repetition({ source, recipe, calibration, seed, versions }: Report['origin'], command: string): Html {
  const data = calibration ? `Calibration: ${calibration.samples} samples of ${calibration.origin}, SHA-256 ${calibration.hash}. ` : ''
  const rows = source.files.map(({ path, bytes, sha256 }) => [html`<code>${path}</code>`, bytesText(bytes), html`<code>${sha256}</code>`])
  const columns = [{ title: 'file' }, { title: 'size', number: true }, { title: 'SHA-256' }]
  return html`
<section>
<h2>How to repeat it</h2>
<pre>${command}</pre>
<p>${data}Seed: ${seed}. Versions: ${Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')}.</p>
${recipe && html`<details><summary>Recipe</summary><pre>${recipe.text.trimEnd()}</pre></details>`}
<details><summary>Source files and their hashes (${source.files.length})</summary>${table('Files of the source', columns, rows)}</details>
</section>`
}

/** A word as shells take it. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

/** A dotted name that may be broken after its dots. */
export function dotted(name: string): Html {
  return html`${name.split('.').map((part, i) => (i ? html`.<wbr>${part}` : part))}`
}
