import { describe, expect, it } from 'vitest';
import { ANSWERED, type Reply, runHeldCall } from '../../src/api/call.ts';
import { ANONYMOUS } from '../../src/api/validation.ts';
import type { Refusal } from '../../src/core/refusal.ts';

const DRAINING: Refusal = { reason: 'draining' };

/** A call that is answered at once or later, and notes how it ended. */
function call(now: 'message' | 'refusal' | undefined) {
  const ends: string[] = [];
  let reply: Reply<string> = () => {};
  const run = (_facts: unknown, _request: string, answer: Reply<string>) => {
    reply = answer;
    if (now === 'message') answer('permit', undefined);
    if (now === 'refusal') answer(undefined, DRAINING);
    return { cancel: () => void ends.push('left'), delivered: () => void ends.push('delivered') };
  };
  return { run, ends, answer: () => reply('permit', undefined) };
}

describe('a call that is held', () => {
  it.each([
    ['message', true, 'delivered'],
    ['message', false, 'left'],
    ['refusal', true, 'delivered'],
    ['refusal', false, 'left'],
  ] as const)('answered at once with a %s, written %s: %s, and there is nothing left to leave', (kind, written, end) => {
    const { run, ends } = call(kind);
    expect(runHeldCall(run, ANONYMOUS, 'ask', () => written)).toBe(ANSWERED);
    expect(ends).toEqual([end]);
  });

  it.each([
    [true, 'delivered'],
    [false, 'left'],
  ])('answered later, written %s: %s; its caller may leave afterwards without effect', (written, end) => {
    const { run, ends, answer } = call(undefined);
    const leave = runHeldCall(run, ANONYMOUS, 'ask', () => written);
    expect(ends).toEqual([]);
    answer();
    leave();
    expect(ends).toEqual([end]);
  });

  it('left before the answer: it leaves once, and a late answer is not written', () => {
    const { run, ends, answer } = call(undefined);
    const written: unknown[] = [];
    const leave = runHeldCall(run, ANONYMOUS, 'ask', (message) => written.push(message) > 0);
    leave();
    leave();
    answer();
    expect([ends, written]).toEqual([['left'], []]);
  });

  it('answers once, however often the call does', () => {
    const { run, ends, answer } = call('message');
    let written = 0;
    runHeldCall(run, ANONYMOUS, 'ask', () => {
      written += 1;
      return true;
    });
    answer();
    expect([written, ends]).toEqual([1, ['delivered']]);
  });
});
