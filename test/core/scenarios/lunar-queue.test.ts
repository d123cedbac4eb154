import { describe, expect, it } from 'vitest';
import { MILLISECOND, MINUTE, NEVER, SECOND } from '../../../src/core/time.ts';
import { Driver } from '../driver.ts';
import type { Handle } from '../handle.ts';
import { backlog, group, rolling, sec } from '../specs.ts';

/** One permit per window; `size` waiters at most. Rolling windows: where Lunar's are aligned, ours are stricter, never looser. */
function queue(permits: number, windowMs: number, size = 10): Driver {
  return new Driver({ groups: [group('queue', [rolling(permits, windowMs * MILLISECOND)], backlog({ requests: size }))] });
}

/** Asks like `A1`: a name and a priority. */
function ask(driver: Driver, names: string, ttlMs: number): Handle[] {
  return names.split(' ').map((name) => driver.ask({ name, priority: Number(name.slice(-1)), ttl: ttlMs * MILLISECOND }));
}

function waiting(driver: Driver): Record<string, number> {
  const byPriority = driver.gate.status(driver.now, 0).waitingByPriority;
  return Object.fromEntries(byPriority.filter((level) => level.waiting > 0).map((level) => [String(level.priority), level.waiting]));
}

describe('the remedy of Lunar: one permit per window, priorities, wait timeout', () => {
  it('LN-1: the first is admitted at once', () => {
    const driver = queue(1, 250);
    expect(ask(driver, 'A1', 1000)[0]?.seconds).toBe(0);
  });

  it('LN-2: one window later the next is admitted at once', () => {
    const driver = queue(1, 250);
    ask(driver, 'A1', 1000);
    driver.advance(250 * MILLISECOND);
    expect(ask(driver, 'B1', 1000)[0]?.seconds).toBe(0.25);
  });

  it('LN-3: the second of one window waits', () => {
    const driver = queue(1, 250);
    driver.advance(249 * MILLISECOND);
    ask(driver, 'A1 B1', 250);
    expect(waiting(driver)).toEqual({ 1: 1 });
  });

  it('LN-4: waiters are counted by priority', () => {
    const driver = queue(1, 250);
    ask(driver, 'A1 B1 C2 D3', 250);
    expect(waiting(driver)).toEqual({ 1: 1, 2: 1, 3: 1 });
  });

  it('LN-5: a backlog of one holds one; the rest is shed on arrival, saying which bound', () => {
    const driver = queue(1, 1, 1);
    const asks = ask(driver, 'A1 B1 C2 D2 E1', 1000);
    expect(waiting(driver)).toEqual({ 1: 1 });
    expect(asks.map((handle) => handle.fate)).toEqual(['admitted', 'waiting', 'refused', 'refused', 'refused']);
    expect(asks[2]?.refusal).toMatchObject({ reason: 'shed', limit: 'backlog.requests' });
  });

  it('LN-6: three of one priority come in order of arrival', () => {
    const driver = queue(1, 250);
    ask(driver, 'A1 B1 C1', 1000);
    driver.advance(SECOND);
    expect(driver.admitted()).toEqual(['A1', 'B1', 'C1']);
    expect(driver.times()).toEqual([0, 0.25, 0.5]);
  });

  it('LN-7: a slot that opens at the very end of the wait timeout is given, the third expires', () => {
    const driver = queue(1, 250);
    const asks = ask(driver, 'A1 B1 C1', 250);
    driver.advance(SECOND);
    expect(driver.times()).toEqual([0, 0.25]);
    expect(asks[2]?.refusal?.reason).toBe('expired');
    expect(asks[2]?.seconds).toBe(0.25);
  });

  it('LN-7: also when the timer comes late', () => {
    const driver = queue(1, 250);
    const asks = ask(driver, 'A1 B1 C1', 250);
    driver.stall(400 * MILLISECOND);
    driver.tick();
    expect(asks.map((handle) => handle.fate)).toEqual(['admitted', 'admitted', 'refused']);
    expect(asks[1]?.seconds).toBe(0.4);
  });

  it('LN-8: the more urgent goes first, then the other', () => {
    const driver = queue(1, 250);
    ask(driver, 'A1 B2 C1', 1000);
    driver.advance(SECOND);
    expect(driver.admitted()).toEqual(['A1', 'C1', 'B2']);
  });

  it('LN-9: with a wait timeout of one window the less urgent expires', () => {
    const driver = queue(1, 250);
    const asks = ask(driver, 'A1 B2 C1', 250);
    driver.advance(SECOND);
    expect(driver.admitted()).toEqual(['A1', 'C1']);
    expect(asks[1]?.refusal?.reason).toBe('expired');
  });

  it('LN-11: 1 per 10 s, ttl 2, size 1: one is admitted, nine are refused at once', () => {
    const driver = queue(1, 10_000, 1);
    const asks = Array.from({ length: 10 }, () => driver.ask({ ttl: 2 * SECOND }));
    expect(asks.map((handle) => handle.fate)).toEqual(['admitted', ...Array(9).fill('refused')]);
    expect(asks[1]?.refusal).toMatchObject({ reason: 'infeasible', retryAt: driver.now + 10 * SECOND });
  });

  it('LN-11: 1 per 10 s, ttl 1, size 2: one is admitted, nine are refused', () => {
    const driver = queue(1, 10_000, 2);
    const asks = Array.from({ length: 10 }, () => driver.ask({ ttl: SECOND }));
    driver.advance(MINUTE);
    expect(asks.filter((handle) => handle.fate === 'admitted')).toHaveLength(1);
    expect(asks.filter((handle) => handle.fate === 'refused')).toHaveLength(9);
  });

  it('LN-12: 2 per 1 s, production before staging: 3rd and 4th production, 7th and 8th staging, whatever the order of arrival', () => {
    const shuffles = ['PPPPSSSS', 'SSSSPPPP', 'PSPSPSPS', 'SPSPSPSP', 'SSPPPPSS', 'PPSSSSPP'];
    for (const shuffle of shuffles) {
      const driver = queue(2, 1000);
      for (const [index, letter] of [...shuffle].entries()) driver.ask({ name: `${letter}${index}`, priority: letter === 'P' ? 1 : 2, ttl: 5 * SECOND });
      driver.advance(10 * SECOND);
      const classes = driver.admitted().map((name) => name[0]);
      expect(driver.times()).toEqual([0, 0, 1, 1, 2, 2, 3, 3]);
      expect(classes.slice(2, 4)).toEqual(['P', 'P']);
      expect(classes.slice(6, 8)).toEqual(['S', 'S']);
    }
  });

  it('LN-13: 1 per 10 min, size 1, ttl 5: one allowed, two blocked', () => {
    const driver = queue(1, 600_000, 1);
    const asks = Array.from({ length: 3 }, () => driver.ask({ ttl: 5 * SECOND }));
    driver.advance(MINUTE);
    expect(asks.map((handle) => handle.fate)).toEqual(['admitted', 'refused', 'refused']);
  });

  it('LN-14: a paused group with three waiting is drained: all three are refused at once, arrivals too', () => {
    const driver = queue(1, 250, 4);
    driver.call((gate, now) => gate.pause(now, 0, NEVER));
    const asks = ask(driver, 'A1 B1 C1', 10_000);
    driver.advance(SECOND);
    expect(waiting(driver)).toEqual({ 1: 3 });
    driver.call((gate, now) => {
      gate.refuseAll(now, { reason: 'draining' });
      gate.seal(now);
    });
    const late = driver.ask({ ttl: sec(10) });
    expect(late.refusal?.reason).toBe('draining');
    expect(asks.map((handle) => handle.refusal?.reason)).toEqual(['draining', 'draining', 'draining']);
    expect(asks.map((handle) => handle.seconds)).toEqual([1, 1, 1]);
    expect(driver.gate.status(driver.now, 0).waiting).toBe(0);
    expect(driver.gate.audit(driver.now)).toEqual([]);
  });

  it('LN-D2: eight of one class at 2 per window keep their order', () => {
    const driver = queue(2, 1000);
    ask(driver, 'A1 B1 C1 D1 E1 F1 G1 H1', 60_000);
    driver.advance(MINUTE);
    expect(driver.admitted().join(' ')).toBe('A1 B1 C1 D1 E1 F1 G1 H1');
  });

  it('LN-D7: an arrival never passes a waiter of equal or higher urgency', () => {
    const driver = queue(1, 250);
    ask(driver, 'A1 B1', 1000);
    driver.stall(250 * MILLISECOND);
    const arrival = driver.ask({ name: 'N1', priority: 1, ttl: SECOND });
    driver.tick();
    expect(driver.admitted()).toEqual(['A1', 'B1']);
    expect(arrival.fate).toBe('waiting');
  });
});

describe('LN-10: 2 per 1 s, ttl 2.2, ten at once', () => {
  it('LN-10: two in each of three windows, the last four refused between 2 and 3 s', () => {
    const driver = queue(2, 1000);
    const asks = Array.from({ length: 10 }, () => driver.ask({ ttl: sec(2.2) }));
    driver.advance(MINUTE);
    expect(driver.times()).toEqual([0, 0, 1, 1, 2, 2]);
    expect(asks.slice(6).map((handle) => handle.seconds)).toEqual([2.2, 2.2, 2.2, 2.2]);
    expect(asks.slice(6).map((handle) => handle.refusal?.reason)).toEqual(['expired', 'expired', 'expired', 'expired']);
    expect(asks[9]?.refusal?.retryAt).toBeGreaterThanOrEqual(driver.log.at(-1)?.at ?? NEVER);
  });
});
