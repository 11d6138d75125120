/** Text that is HTML already. */
export class Html {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

/** What a template may hold: texts are escaped, lists put together, absent parts left out. */
export type HtmlPart = Html | string | number | null | undefined | false | readonly HtmlPart[]

/**
 * HTML from a template; everything in it that is not {@link Html} is escaped.
 *
 * @example
 * html`<p>${'1 < 2'}</p>`.text // '<p>1 &#60; 2</p>'
 */
export function html(parts: TemplateStringsArray, ...values: readonly HtmlPart[]): Html {
  return new Html(parts.map((part, i) => part + textOf(values[i])).join(''))
}

function textOf(part: HtmlPart): string {
  if (part === null || part === undefined || part === false) return ''
  if (part instanceof Html) return part.text
  if (typeof part === 'object') return part.map(textOf).join('')
  return String(part).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
