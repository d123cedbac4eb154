import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, type Badness, type Expected, expectedOf, type Runner, TABLE } from './table.ts';

const BADNESS: readonly Badness[] = ['malformed', 'wrong_type', 'unknown_field', 'oversized', 'content_type'];

/** Runs the whole table through one protocol. `start` brings up a server with the groups of the table and answers a way to call it. */
export function protocolSuite(name: string, binary: boolean, start: () => Promise<{ readonly runner: Runner; stop(): Promise<void> }>): void {
  describe(name, () => {
    let running: Awaited<ReturnType<typeof start>>;
    beforeAll(async () => {
      running = await start();
    });
    afterAll(async () => {
      await running.runner.close();
      await running.stop();
    });

    it.each(TABLE.map((each, index) => ({ ...each, key: `${name.replaceAll(/[^A-Za-z]/g, '')}-${index}` })))('$name', async ({ steps, key }) => {
      const answers: Answer[] = [];
      for (const { method, fields, expect: expected } of steps) {
        const answer = await running.runner.call(method, typeof fields === 'function' ? fields(answers, key) : fields);
        check(answer, expected);
        answers.push(answer);
      }
    });

    it.each(BADNESS)('bad bytes: %s', async (badness) => {
      const answer = await running.runner.bad(badness);
      expect(expectedOf(badness, binary)(answer), JSON.stringify(answer)).toBe(true);
    });
  });
}

function check(answer: Answer, expected: Expected): void {
  if ('ok' in expected) {
    expect(answer).toMatchObject({ ok: true, fields: expected.ok });
    return;
  }
  const { reason, code, limit, retry } = expected;
  expect(answer).toMatchObject({ ok: false, reason, code, ...(limit === undefined ? {} : { limit }), ...(retry === undefined ? {} : { retry }) });
  // Every refusal says to people what is wrong.
  if (!answer.ok) expect(answer.message).toMatch(/^[A-Z`].*[.)]$/s);
}
