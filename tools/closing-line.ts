import type { Reporter, SerializedError, TestModule } from 'vitest/node';

/**
 * Ends a run with `N passed, N failed` alone on a line, for readers that are programs. What failed without being a test
 * (a file that does not load, an error outside every test) counts as one failure each. Above it stands what this machine
 * left out: every skipped test whose name says that it `is not run`.
 */
export class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly SerializedError[]): void {
    let passed = 0;
    let failed = errors.length;
    const left: string[] = [];
    for (const module of modules) {
      failed += module.errors().length;
      for (const suite of module.children.allSuites()) failed += suite.errors().length;
      for (const { result, name } of tally(module)) {
        if (result === 'passed') passed += 1;
        else if (result === 'failed') failed += 1;
        else if (name.includes('is not run: ')) left.push(`left out: ${name}\n`);
      }
    }
    // At the very end of the process, so that no other reporter writes below it.
    process.once('exit', () => process.stdout.write(`${left.join('')}${passed} passed, ${failed} failed\n`));
  }
}

function* tally(module: TestModule): Iterable<{ result: string; name: string }> {
  for (const test of module.children.allTests()) yield { result: test.result().state, name: test.fullName };
}
