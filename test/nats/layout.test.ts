import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sessionRegister } from '../../src/coordination/membership/session-record.ts';
import { ownershipRegister } from '../../src/coordination/ownership/ownership-record.ts';
import { subjectOf } from '../../src/ledger/subjects.ts';
import { deferredPermissions } from '../../src/nats/deferred-layout.ts';
import { createLayout, requiredPermissions } from '../../src/nats/layout.ts';

const layout = createLayout('sluice');

/** Whether a subject falls under one of a stream's, as NATS sees it. */
function under(subject: string, pattern: string): boolean {
  return pattern.endsWith('.>') ? subject.startsWith(pattern.slice(0, -1)) && subject.length >= pattern.length : subject === pattern;
}

describe('names in NATS', () => {
  test('are the same from version to version', () => {
    expect(layout.register(ownershipRegister(5))).toEqual({ stream: 'SLUICE1_REG', subject: 'sluice.1.reg.owner.5' });
    expect(layout.register(sessionRegister('host_a:8080-f00d'))).toEqual({ stream: 'SLUICE1_SES', subject: 'sluice.1.ses.host_5fa_3a8080-f00d' });
    expect(layout.log('ledger.13.my_2fgroup')).toEqual({ stream: 'SLUICE1_LEDGER_5', subject: 'sluice.1.led.5.ledger.13.my_2fgroup' });
    expect(layout.message('hb')).toBe('sluice.1.hb');
    expect(createLayout('a_b').ledger[7]).toBe('A_B1_LEDGER_7');
  });

  test('fall into one stream, their own, whatever is named', () => {
    const streams = layout.wanted(0);
    const own = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: fc.constantFrom('.', 'a', '_', '>', '*', ' ') }));
    fc.assert(
      fc.property(own, (name) => {
        for (const place of [layout.register(name), layout.register(`session.${name}`), layout.log(subjectOf(name))]) {
          const holding = streams.filter(({ subjects }) => subjects.some((pattern) => under(place.subject, pattern)));
          expect(holding.map((stream) => stream.name)).toEqual([place.stream]);
          expect(place.subject.split('.').every((token) => /^[\w~-]+$/.test(token))).toBe(true);
        }
      }),
    );
  });

  test('of two registers or logs are never one', () => {
    const own = fc.string({ unit: fc.constantFrom('.', 'a', '_', '5', 'f', '~', 'é') });
    fc.assert(
      fc.property(own, own, (one, other) => {
        fc.pre(one !== other);
        expect(layout.register(one).subject).not.toBe(layout.register(other).subject);
        expect(layout.log(one).subject).not.toBe(layout.log(other).subject);
      }),
    );
  });

  test('of sessions are read back, and others are none', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ unit: fc.constantFrom('.', '_', '~', '%', 'a', '5') })), (name) => {
        expect(layout.sessionAt(layout.register(sessionRegister(name)).subject)).toBe(sessionRegister(name));
      }),
    );
    expect(layout.sessionAt('sluice.1.reg.owner.5')).toBeUndefined();
    expect(layout.sessionAt('sluice.1.ses._ff')).toBeUndefined();
  });

  test('spread the shards over all streams of the ledger', () => {
    const streams = Array.from({ length: 64 }, (_, shard) => layout.log(`ledger.${String(shard).padStart(2, '0')}.x`).stream);
    for (const stream of layout.ledger) expect(streams.filter((each) => each === stream).length).toBe(8);
  });
});

test('the rights that an account needs stand in the manual, all of them', () => {
  const manual = readFileSync(new URL('../../docs/nats.md', import.meta.url), 'utf8');
  const { publish, subscribe } = requiredPermissions('sluice');
  for (const subject of [...publish, ...subscribe, ...deferredPermissions('sluice')]) expect(manual).toContain(`"${subject}"`);
});
