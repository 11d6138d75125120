import type { Progress, Stage } from '../base/progress.js'
import type { TextStream } from './streams.js'
import { duration } from './words.js'

interface OpenStage {
  readonly name: string
  readonly total: number | undefined
  readonly start: number
  done: number
  note: string
}

/** Of the bar, where there is room for it. */
const [narrowest, widest] = [8, 24]
const millisecondsBetween = 80
/** Warnings shown where stderr is no terminal; the rest is counted. */
const mostPlainWarnings = 3

/** Stages as one line that is drawn over and over, with the time left; where stderr is no terminal, warnings alone. */
export class ProgressBar implements Progress {
  readonly #stream: TextStream
  readonly #stages: OpenStage[] = []
  #warnings = 0
  #drawn = 0
  #visible = false

  constructor(stream: TextStream) {
    this.#stream = stream
  }

  stage(name: string, total?: number): Stage {
    const stage: OpenStage = { name, total, start: performance.now(), done: 0, note: '' }
    this.#stages.push(stage)
    this.#draw(true)
    return {
      advance: (by = 1) => {
        stage.done += by
        this.#draw(false)
      },
      note: (text) => {
        stage.note = text
      },
      end: () => {
        const at = this.#stages.indexOf(stage)
        if (at >= 0) this.#stages.splice(at, 1)
        this.#draw(true)
      },
    }
  }

  warn(message: string): void {
    this.#warnings++
    if (this.#stream.isTTY || this.#warnings <= mostPlainWarnings) this.#line(`warning: ${message}`)
  }

  info(message: string): void {
    if (this.#stream.isTTY) this.#line(message)
  }

  /** Takes the line away. */
  close(): void {
    this.#stages.length = 0
    this.#erase()
    const more = this.#stream.isTTY ? 0 : this.#warnings - mostPlainWarnings
    if (more > 0) this.#line(`warning: and ${more} more`)
    this.#warnings = 0
  }

  #line(text: string): void {
    this.#erase()
    this.#stream.write(`${text}\n`)
    this.#draw(true)
  }

  #draw(now: boolean): void {
    if (!this.#stream.isTTY || (!now && performance.now() - this.#drawn < millisecondsBetween)) return
    this.#drawn = performance.now()
    const stage = this.#stages.at(-1)
    this.#erase()
    if (!stage) return
    const room = (this.#stream.columns || 80) - 1
    this.#stream.write(describe(stage, room).slice(0, room))
    this.#visible = true
  }

  #erase(): void {
    if (this.#visible) this.#stream.write('\r\x1b[K')
    this.#visible = false
  }
}

/** The bar is as long as the words beside it leave room for. */
function describe({ name, total, done, start, note }: OpenStage, room: number): string {
  if (!total) return `${name} ...`
  const share = Math.min(1, done / total)
  const elapsed = (performance.now() - start) / 1e3
  const left = share > 0.02 ? `, ${duration((elapsed / share) * (1 - share))} left` : ''
  const words = ` ${Math.floor(100 * share)} %${left}${note && ` · ${note}`}`
  const width = Math.min(widest, Math.max(narrowest, room - name.length - 1 - words.length))
  const filled = Math.round(share * width)
  return `${name} ${'█'.repeat(filled)}${'░'.repeat(width - filled)}${words}`
}
