import { defineConfig } from 'vitest/config';
import { ClosingLine } from './tools/closing-line.ts';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/nats-setup.ts'],
    setupFiles: ['test/support/seed.ts'],
    // A test that passes at the second try is a failed test.
    retry: 0,
    pool: 'forks',
    // Two at most: property tests and real-time tests share small machines badly.
    maxWorkers: 2,
    // They end what hangs, and judge no speed: a busy machine takes ten times as long as a quiet one.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    teardownTimeout: 30_000,
    expect: { poll: { interval: 10, timeout: 30_000 } },
    // Of `npm run coverage`: what no test of this process runs; servers that tests start as processes are not counted.
    coverage: { provider: 'v8', include: ['src/**/*.ts'], exclude: ['src/gen/**'], reporter: ['text-summary', 'html'], reportsDirectory: '.cache/coverage' },
    reporters: ['default', new ClosingLine()],
  },
});
