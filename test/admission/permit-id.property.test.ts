import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PERMIT_CHARS_MAX, parsePermitId, permitId, provenPermitId } from '../../src/admission/permit-id.ts';

const SERIAL = fc.oneof(fc.maxSafeNat(), fc.nat({ max: 2 ** 22 }), fc.constantFrom(0, 36 ** 4 - 1, 36 ** 4, 36 ** 4 + 1, Number.MAX_SAFE_INTEGER));
const BITS = fc.oneof(
  fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  fc.constantFrom(0, 36 ** 4 - 1, 36 ** 4, 36 ** 6 - 1, 36 ** 6, 2 ** 32 - 1).filter((bits) => bits < 2 ** 32),
);

test('the name of a permit is its serial and its tag in digits of 36', () => {
  fc.assert(
    fc.property(fc.array(SERIAL, { minLength: 1 }), BITS, BITS, (serials, high, low) => {
      for (const serial of serials) {
        expect(permitId('g', serial, undefined)).toBe(`g~${serial.toString(36)}`);
        expect(permitId('g', serial, { high, low })).toBe(`g~${serial.toString(36)}~${high.toString(36).padStart(7, '0')}${low.toString(36).padStart(7, '0')}`);
      }
    }),
  );
});

test('it is read again as what it was', () => {
  fc.assert(
    fc.property(SERIAL, BITS, BITS, (serial, high, low) => {
      const name = { group: 'a.b-c_9', serial, tag: { high, low } };
      const text = permitId(name.group, serial, name.tag);
      expect(text.length).toBeLessThanOrEqual(PERMIT_CHARS_MAX);
      expect(parsePermitId(text)).toEqual(name);
    }),
  );
});

test('a name with a proof and the longest key is read again as what it was', () => {
  const key = fc.oneof(
    fc.constant(''),
    fc.constant('\u20ac'.repeat(85)),
    fc.string({ maxLength: 60 }).filter((text) => text.isWellFormed()),
  );
  fc.assert(
    fc.property(SERIAL, fc.stringMatching(/^[A-Za-z0-9_-]{12}$/), key, (serial, proof, named) => {
      const name = { group: 'g'.repeat(128), serial, tag: undefined, proof, key: named };
      const text = provenPermitId(name.group, serial, proof, named);
      expect(text.length).toBeLessThanOrEqual(PERMIT_CHARS_MAX);
      expect(parsePermitId(text)).toEqual(name);
    }),
  );
});
