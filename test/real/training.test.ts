import { spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { sharedPath } from '../support/shared.js'

const golden = sharedPath('golden')

describe.skipIf(!golden)('recorded trainings', () => {
  it('are repeated step by step by npm run check:training', () => {
    const { stdout, status } = spawnSync(process.execPath, ['scripts/check-training.mjs', golden!], { encoding: 'utf8' })
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines.length).toBeGreaterThan(4)
    for (const line of lines) expect(line).toMatchObject({ ok: true })
    expect(status).toBe(0)
  })

  it('refuse a folder without any', () => {
    const { stderr, status } = spawnSync(process.execPath, ['scripts/check-training.mjs', 'src'], { encoding: 'utf8' })
    expect(stderr).toMatch(/holds no checkpoint with a training.safetensors/)
    expect(status).toBe(2)
  })
})
