import { type Html, html } from './html.js'
import { plainNumber } from './words.js'

/** Points in the order of x, drawn as a line. */
export interface Curve {
  readonly name: string
  /** `quiet` for what lies behind another curve. */
  readonly tone: 'quiet' | 'strong'
  readonly points: readonly Point[]
}

export interface Point {
  readonly x: number
  readonly y: number
}

/** Curves over one axis. */
export interface Chart {
  readonly title: string
  /** What is along the bottom. */
  readonly along: string
  readonly curves: readonly Curve[]
  /** A point that stands out. */
  readonly mark?: Point & { readonly name: string }
  /** A height to compare with. */
  readonly level?: { readonly y: number; readonly name: string }
}

/** Points that a curve is drawn with at most, twice. */
const drawn = 400

/** A figure with axes, as SVG without anything from outside; words stand beside it, so that they keep their size on small screens. */
export function chart(given: Chart): Html {
  const { title, along, curves, mark, level } = given
  const points = curves.flatMap((curve) => curve.points)
  if (!points.length) return html``
  const x = extent(points.map((point) => point.x))
  const ticks = ticksOf(extent([...points.map((point) => point.y), ...(level ? [level.y] : [])]))
  const y = { least: ticks[0], most: ticks.at(-1)! }
  const place = (point: Point) => `${share(point.x, x)} ${100 - share(point.y, y)}`
  const dot = mark && place(mark)
  return html`
<figure class="chart">
<figcaption>${title}${legend(given)}</figcaption>
<div class="plot">
<div class="heights" aria-hidden="true">${ticks.map((tick) => html`<span style="bottom:${share(tick, y)}%">${plainNumber(tick)}</span>`)}</div>
<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="${described(given)}">
${ticks.map((tick) => html`<path class="grid" d="M0 ${100 - share(tick, y)}H100" />`)}
${level && html`<path class="level" d="M0 ${100 - share(level.y, y)}H100" />`}
${curves.map(({ tone, points: own }) => html`<polyline class="${tone}" points="${thinned(own).map(place).join(' ')}" />`)}
${dot && html`<path class="mark" d="M${dot}L${dot}" />`}
</svg>
<div class="along" aria-hidden="true"><span>${plainNumber(x.least, 6)}</span><span>${along}</span><span>${plainNumber(x.most, 6)}</span></div>
</div>
</figure>`
}

function legend({ curves, mark, level }: Chart): Html | null {
  const entries = [
    ...(curves.length > 1 ? curves.map(({ tone, name }) => [tone, name]) : []),
    ...(mark ? [['mark', mark.name]] : []),
    ...(level ? [['level', level.name]] : []),
  ]
  return entries.length
    ? html` <span class="legend">${entries.map(([kind, name]) => html`<span class="${kind}">${name}</span>`)}</span>`
    : null
}

/** What the figure shows, in words. */
function described({ title, along, curves, mark, level }: Chart): string {
  const sentences = curves.map(({ name, points }) => {
    const [first, last] = [points[0], points.at(-1)!]
    return `${name}: ${plainNumber(first.y)} at ${along} ${first.x}, ${plainNumber(last.y)} at ${along} ${last.x}`
  })
  if (mark) sentences.push(`${mark.name}: ${plainNumber(mark.y)} at ${along} ${mark.x}`)
  if (level) sentences.push(`${level.name}: ${plainNumber(level.y)}`)
  return `${title}. ${sentences.join('. ')}.`
}

interface Extent {
  readonly least: number
  readonly most: number
}

function extent(values: readonly number[]): Extent {
  const [least, most] = values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [values[0], values[0]])
  return { least, most }
}

/** In percent of the extent, with as many digits as can be seen. */
function share(value: number, { least, most }: Extent): number {
  return Number((most > least ? (100 * (value - least)) / (most - least) : 50).toFixed(2))
}

/** Three to seven round numbers around an extent. */
function ticksOf({ least, most }: Extent): number[] {
  const range = most - least || Math.abs(most) || 1
  const power = 10 ** Math.floor(Math.log10(range / 3))
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((width) => range / width <= 5)!
  const first = Math.floor(least / step)
  return Array.from({ length: Math.max(2, Math.ceil(most / step) - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(12)))
}

/** The least and the greatest of as many stretches as can be seen. */
function thinned(points: readonly Point[]): Point[] {
  if (points.length <= 2 * drawn) return [...points]
  return Array.from({ length: drawn }, (_, i) => {
    const part = points.slice(Math.floor((i * points.length) / drawn), Math.floor(((i + 1) * points.length) / drawn))
    const ordered = [...part].sort((a, b) => a.y - b.y)
    return [ordered[0], ordered.at(-1)!].sort((a, b) => a.x - b.x)
  }).flat()
}

/**
 * An exponential moving average that forgets within a twentieth of the points; like Adam's, without a pull towards 0 at the start.
 *
 * @example
 * smoothed([{ x: 1, y: 2 }, { x: 2, y: 2 }]).map(({ y }) => y) // [2, 2]
 */
export function smoothed(points: readonly Point[]): Point[] {
  const kept = 1 - 1 / Math.max(1, points.length / 20)
  let [sum, weight] = [0, 0]
  return points.map(({ x, y }) => {
    sum = kept * sum + y
    weight = kept * weight + 1
    return { x, y: sum / weight }
  })
}
