import { type Html, type HtmlPart, html } from './html.js'

/** A column of a table; numbers stand at the right. */
export interface Column {
  readonly title: string
  readonly number?: boolean
}

/** A table that can be scrolled sideways on narrow screens; the first cell of a row is its heading. */
export function table(caption: string, columns: readonly Column[], rows: readonly (readonly HtmlPart[])[]): Html {
  const kind = (i: number) => (columns[i].number ? 'number' : '')
  const head = columns.map(({ title }, i) => html`<th scope="col" class="${kind(i)}">${title}</th>`)
  const body = rows.map((cells) => {
    const inner = cells.map((cell, i) => (i ? html`<td class="${kind(i)}">${cell}</td>` : html`<th scope="row">${cell}</th>`))
    return html`<tr>${inner}</tr>\n`
  })
  return html`
<div class="scroll" role="region" aria-label="${caption}" tabindex="0">
<table>
<caption>${caption}</caption>
<thead><tr>${head}</tr></thead>
<tbody>
${body}</tbody>
</table>
</div>`
}
