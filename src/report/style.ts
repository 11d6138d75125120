import { Html } from './html.js'

/** The style of the report; it needs nothing from outside. */
export const style = new Html(`
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #1c2024; --quiet: #5c646d; --line: #dfdcd4;
  --before: #9aa3ad; --after: #0f7b6c; --track: #efede7; --warn: #8a4b00; --warn-paper: #fff4e0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --card: #1c2125; --ink: #e8eaec; --quiet: #a3abb3; --line: #343b41;
    --before: #6f7982; --after: #45c4b0; --track: #262c31; --warn: #ffcf87; --warn-paper: #33270f;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', sans-serif; }
header, main, footer { max-width: 66rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; }
footer { padding-bottom: 3rem; color: var(--quiet); font-size: .875rem; }
h1 { margin: 0; font-size: clamp(1.4rem, 4vw, 2.1rem); line-height: 1.2; letter-spacing: -.015em; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.2rem; }
h3 { margin: 0; font-size: .9rem; font-weight: 600; color: var(--quiet); }
p { margin: .4rem 0; max-width: 46rem; }
.quiet { color: var(--quiet); }
section > .quiet { margin-bottom: .75rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); gap: 1rem; margin-top: 1.75rem; }
.tile { padding: 1rem 1.1rem 1.1rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.verdict { margin: .1rem 0 .8rem; font-size: 1.45rem; font-weight: 650; letter-spacing: -.01em; }
.bars { display: grid; grid-template-columns: auto 1fr auto; gap: .35rem .7rem; align-items: center; font-size: .875rem; }
.bar { width: 100%; height: .7rem; border-radius: .35rem; }
.bar rect { fill: var(--before); } .bar.after rect { fill: var(--after); } .bar rect.track { fill: var(--track); }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--after); outline-offset: 2px; }
table { width: 100%; border-collapse: collapse; font-size: .925rem; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td { padding: .5rem .9rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--quiet); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 600; white-space: nowrap; }
td code { white-space: nowrap; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
code, pre { font: .875em/1.5 ui-monospace, 'SF Mono', Menlo, Consolas, monospace; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .75rem 0; padding: .9rem 1rem; overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
details { margin: .75rem 0; }
summary { cursor: pointer; padding: .2rem 0; font-weight: 600; }
details .scroll { margin-top: .5rem; }
.warnings { margin: 1.75rem 0 0; padding: .8rem 1.1rem; background: var(--warn-paper); color: var(--warn); border-radius: .6rem; }
.warnings h2 { margin: 0; font-size: 1rem; }
.warnings ul { margin: .3rem 0 0; padding-left: 1.2rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
.chart { margin: 0; padding: 1rem 1.1rem .8rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; min-width: 0; }
.charts > .chart:first-child, .charts > .chart:last-child:nth-child(even) { grid-column: 1 / -1; }
figcaption { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .2rem 1rem; margin-bottom: .7rem; font-size: .9rem; font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; color: var(--quiet); font-weight: 400; }
.legend span::before { content: ''; display: inline-block; width: 1.1rem; margin-right: .4rem; vertical-align: .25em; border-top: 2px solid var(--after); }
.legend .quiet::before { border-color: var(--before); }
.legend .level::before { border-top-style: dashed; border-color: var(--warn); }
.legend .mark::before { width: .6rem; height: .6rem; border: 0; border-radius: 50%; background: var(--after); vertical-align: 0; }
.plot { display: grid; grid-template-columns: auto 1fr; column-gap: .5rem; font-size: .78rem; color: var(--quiet); font-variant-numeric: tabular-nums; }
.plot svg { width: 100%; height: 9rem; overflow: visible; }
.charts > .chart:first-child svg { height: 14rem; }
.plot path, .plot polyline { fill: none; stroke: var(--after); stroke-width: 2px; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.plot .quiet { stroke: var(--before); stroke-width: 1px; }
.plot .grid { stroke: var(--line); stroke-width: 1px; }
.plot .level { stroke: var(--warn); stroke-dasharray: 6 4; }
.plot .mark { stroke-width: 11px; stroke-linecap: round; }
.heights { position: relative; width: 3.2rem; }
.heights span { position: absolute; right: 0; transform: translateY(50%); line-height: 1; }
.along { grid-column: 2; display: flex; justify-content: space-between; margin-top: .35rem; }
@media (max-width: 34rem) {
  table { font-size: .82rem; }
  th, td { padding: .45rem .4rem; }
  tbody th { white-space: normal; }
  tbody th { min-width: 6.5rem; }
}
@media print { body { background: #fff; } .tile, .scroll, pre { break-inside: avoid; } }
`)
