import { describe, expect, it } from 'vitest'
import { ProgressBar } from '../../src/cli/progress-bar.js'
import { count, duration, figure, size, table } from '../../src/cli/words.js'

function barOn(isTTY: boolean) {
  let text = ''
  const write = (piece: string) => {
    text += piece
  }
  const bar = new ProgressBar({ isTTY, columns: 60, write })
  return { bar, text: () => text }
}

describe('the progress bar', () => {
  it('draws the innermost stage over and over in one line and takes it away', () => {
    const { bar, text } = barOn(true)
    const outer = bar.stage('outer')
    const inner = bar.stage('inner', 4)
    inner.advance(2)
    inner.end()
    outer.end()
    bar.close()
    expect(text()).toContain('outer ...')
    expect(text()).toContain('inner ░░░░')
    expect(text()).not.toContain('\n')
    expect(text().endsWith('\r\x1b[K')).toBe(true)
  })

  it('shortens the bar for what a stage has to say', () => {
    const { bar, text } = barOn(true)
    const stage = bar.stage('train', 100)
    stage.note?.('loss ▇▆▅▄▃▂▁▁▁▁▁▁▁▁▁▁▁▁▁▁ 0.0123')
    stage.advance(1)
    const drawn = text().split('\r\x1b[K').at(-1)!
    bar.warn('look')
    const after = text().split('\n').at(-1)!
    for (const line of [drawn, after]) expect(line.length).toBeLessThan(60)
    expect(after).toMatch(/^train [█░]{8,} 1 %.* 0\.0123$/)
  })

  it('keeps warnings above the line', () => {
    const { bar, text } = barOn(true)
    const stage = bar.stage('work')
    bar.warn('look out')
    stage.end()
    expect(text()).toBe('work ...\r\x1b[Kwarning: look out\nwork ...\r\x1b[K')
  })

  it('writes a few warnings and nothing else where nobody looks', () => {
    const { bar, text } = barOn(false)
    const stage = bar.stage('work', 10)
    for (const name of ['a', 'b', 'c', 'd', 'e']) bar.warn(name)
    bar.info('not shown')
    stage.advance(5)
    stage.end()
    bar.close()
    expect(text()).toBe('warning: a\nwarning: b\nwarning: c\nwarning: and 2 more\n')
  })
})

describe('words', () => {
  it('say sizes, durations, figures and counts as people do', () => {
    expect([0, 999, 1000, 23_501_452, 4.2e9].map(size)).toEqual(['0 B', '999 B', '1.00 kB', '23.5 MB', '4.20 GB'])
    expect([0.04, 9.94, 9.96, 89, 125].map(duration)).toEqual(['0.0 s', '9.9 s', '10 s', '89 s', '2 min 5 s'])
    expect([86.63421, 7, 0.00123456].map(figure)).toEqual(['86.63', '7', '0.001235'])
    expect([count(1, 'file'), count(2000, 'file')]).toEqual(['1 file', '2,000 files'])
  })

  it('stand in columns, numbers to the right', () => {
    expect(
      table(
        ['name', 'size'],
        [
          ['a', '1.0 kB'],
          ['long', '20 kB'],
        ],
      ),
    ).toBe('name    size\n----  ------\na     1.0 kB\nlong   20 kB')
  })
})
