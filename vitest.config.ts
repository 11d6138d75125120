import { defineConfig } from 'vitest/config'
import { sourceAliases } from './scripts/source-aliases.mjs'

const alias = sourceAliases('default')
/** What needs real models, a browser or much time. */
const slow = ['test/real/**/*.test.ts', 'test/browser/**/*.test.ts', 'test/**/*.long.test.ts']
const common = { pool: 'forks' as const, maxWorkers: 2, testTimeout: 120_000, hookTimeout: 120_000 }

export default defineConfig({
  test: {
    projects: [
      {
        resolve: { alias },
        test: { ...common, name: 'fast', include: ['test/**/*.test.ts'], exclude: slow },
      },
      {
        resolve: { alias },
        test: {
          ...common,
          name: 'real',
          include: slow,
          testTimeout: 600_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
})
