import { describe, expect, it } from 'vitest';
import { SECOND } from '../../src/core/time.ts';
import { Driver } from './driver.ts';
import { backlog, concurrency, group, spacing } from './specs.ts';

/** A group that is full from its second caller on, so that all others wait. */
function clientLimiter(bounds: Parameters<typeof backlog>[0], more = {}): Driver {
  const driver = new Driver({ groups: [group('g', [concurrency(1)], { ...backlog(bounds), ...more })] });
  driver.ask({ name: 'holder' });
  return driver;
}

function waiting(driver: Driver): readonly string[] {
  return driver.gate.waiters(driver.now, 0, 0, 100).map((view) => view.holder);
}

describe('a full backlog', () => {
  it('holds as many callers without a key as the group may hold, whatever perKey says', () => {
    const driver = clientLimiter({ requests: 10, perKey: 2 });
    for (let index = 0; index < 10; index++) driver.ask({});
    expect(driver.gate.status(driver.now, 0).waiting).toBe(10);
    expect(driver.ask({}).refusal).toMatchObject({ reason: 'shed', limit: 'backlog.requests' });
  });

  it('still holds at most perKey callers of one key', () => {
    const driver = clientLimiter({ requests: 10, perKey: 2 });
    for (let index = 0; index < 2; index++) driver.ask({ key: 'a' });
    expect(driver.ask({ key: 'a' }).refusal).toMatchObject({ reason: 'shed', limit: 'backlog.perKey' });
    expect(driver.ask({ key: 'b' }).fate).toBe('waiting');
  });

  it('sheds the youngest waiter of the least urgent priority in place of an urgent arrival, with a time to come back', () => {
    const driver = clientLimiter({ requests: 3 });
    driver.ask({ name: 'staging 1', priority: 2 });
    const shed = driver.ask({ name: 'staging 2', priority: 2 });
    driver.ask({ name: 'production 1', priority: 1 });
    driver.advance(SECOND);
    expect(driver.ask({ name: 'production 2', priority: 1 }).fate).toBe('waiting');
    expect(shed.refusal).toMatchObject({ reason: 'shed', limit: 'backlog.requests' });
    expect(shed.refusal?.retryAt).toBeGreaterThan(driver.now);
    expect(waiting(driver)).toEqual(['production 1', 'production 2', 'staging 1']);
  });

  it('sheds the arrival where nobody is less urgent', () => {
    const driver = clientLimiter({ requests: 1 });
    const first = driver.ask({ priority: 1 });
    expect(driver.ask({ priority: 1 }).refusal?.reason).toBe('shed');
    expect(driver.ask({ priority: 2 }).refusal?.reason).toBe('shed');
    expect(first.fate).toBe('waiting');
  });

  it('sheds the arrival, however urgent, where the group says newest', () => {
    const driver = clientLimiter({ requests: 1, onFull: 'newest' });
    const first = driver.ask({ priority: 2 });
    expect(driver.ask({ priority: 0 }).refusal?.reason).toBe('shed');
    expect(first.fate).toBe('waiting');
  });

  it('keeps a waiter that has aged past the arrival', () => {
    const driver = clientLimiter({ requests: 1 }, { aging: SECOND });
    const old = driver.ask({ priority: 5 });
    driver.advance(4 * SECOND + 1);
    expect(driver.ask({ priority: 1 }).refusal?.reason).toBe('shed');
    expect(old.fate).toBe('waiting');
    expect(driver.ask({ priority: 0 }).fate).toBe('waiting');
    expect(old.refusal?.reason).toBe('shed');
  });

  it('sheds the least urgent of its own key where only the key is full', () => {
    const driver = clientLimiter({ requests: 10, perKey: 2 });
    const other = driver.ask({ key: 'b', priority: 9 });
    driver.ask({ key: 'a', priority: 1 });
    const own = driver.ask({ key: 'a', priority: 3 });
    expect(driver.ask({ key: 'a', priority: 2 }).fate).toBe('waiting');
    expect(own.refusal).toMatchObject({ reason: 'shed', limit: 'backlog.perKey' });
    expect(other.fate).toBe('waiting');
  });

  it('sheds as many as the bytes of an urgent arrival need, those that hold none left alone, and nobody where that is not enough', () => {
    const driver = clientLimiter({ bytes: 100 });
    const light = driver.ask({ priority: 9, bytes: 0 });
    const heavy = [40, 40, 20].map((bytes) => driver.ask({ priority: 2, bytes }));
    expect(driver.ask({ priority: 1, bytes: 101 }).refusal).toMatchObject({ reason: 'shed', limit: 'backlog.bytes' });
    expect(heavy.map(({ fate }) => fate)).toEqual(['waiting', 'waiting', 'waiting']);
    expect(driver.ask({ priority: 1, bytes: 50 }).fate).toBe('waiting');
    expect(heavy.map(({ fate }) => fate)).toEqual(['waiting', 'refused', 'refused']);
    expect(light.fate).toBe('waiting');
    expect(driver.gate.audit(driver.now)).toEqual([]);
  });

  it('sheds a waiter whose caller is away like any other, also when it was set aside', () => {
    const driver = clientLimiter({ requests: 2 });
    const away = driver.ask({ priority: 2 });
    driver.call((gate, now) => gate.suspend(now, away.ref));
    driver.ask({ priority: 1 });
    driver.ask({ priority: 1 });
    expect(away.refusal?.reason).toBe('shed');
    expect(driver.gate.audit(driver.now)).toEqual([]);
  });

  it('leaves the line of the tree in order when the one that held it is shed', () => {
    const groups = [
      group('root', [spacing(SECOND, 0, { unit: 'turns' }), concurrency(3)]),
      group('child', [], { parent: { group: 'root', share: undefined }, ...backlog({ requests: 1 }) }),
    ];
    const driver = new Driver({ groups });
    driver.ask({ group: 'root', cost: 2 });
    const large = driver.ask({ name: 'large', group: 'child', cost: 2, priority: 2 });
    const behind = driver.ask({ name: 'behind', group: 'root', cost: 1, priority: 3 });
    driver.ask({ name: 'urgent', group: 'child', cost: 2, priority: 1 });
    expect(large.refusal?.reason).toBe('shed');
    expect(behind.fate).toBe('waiting');
    expect(driver.gate.audit(driver.now)).toEqual([]);
  });

  it('explains what it does: an urgent ask would wait, another would be shed', () => {
    const driver = clientLimiter({ requests: 1 });
    driver.ask({ priority: 2 });
    const explain = (priority: number) => {
      const ask = { ...driver.handles[0]?.ask, priority, waitUntil: driver.now + SECOND } as unknown as Parameters<typeof driver.gate.explain>[1];
      return driver.gate.explain(driver.now, ask).refusal?.reason;
    };
    expect([explain(1), explain(2)]).toEqual([undefined, 'shed']);
  });
});
