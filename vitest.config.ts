import { defineConfig } from 'vitest/config';
import { ClosingLine } from './tools/closing-line.ts';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/nats-setup.ts'],
    setupFiles: ['test/seed.ts'],
    // A real-time test may lose its processor on a busy machine; a fault that is there is there twice.
    retry: process.env['CI'] === undefined ? 0 : 1,
    pool: 'forks',
    // Two at most: property tests and real-time tests share small machines badly.
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    reporters: ['default', new ClosingLine()],
  },
});
