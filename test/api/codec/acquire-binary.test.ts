import { create, fromBinary, fromJsonString, type MessageInitShape, toBinary, toJsonString } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeAcquire, encodeAcquired } from '../../../src/api/codec/acquire-binary.ts';
import { acquiredJson, acquireFromJson } from '../../../src/api/codec/acquire-json.ts';
import { AcquireRequestSchema, AcquireResponseSchema } from '../../../src/gen/sluice/v1/admission_pb.ts';

const seconds = fc.oneof(fc.bigInt({ min: 0n, max: 100_000n }), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }));
const nanos = fc.oneof(fc.integer({ min: 0, max: 999_999_999 }), fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }));
const duration = fc.option(fc.record({ seconds, nanos }), { nil: undefined });
const text = fc.oneof(fc.constant(''), fc.string(), fc.string({ unit: 'grapheme' }), fc.string({ minLength: 250, maxLength: 300 }));
const urgency = fc.oneof(
  fc.constant({ case: undefined }),
  fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }).map((value) => ({ case: 'priority' as const, value })),
  text.map((value) => ({ case: 'priorityClass' as const, value })),
);
const costs = fc.oneof(fc.constant({}), fc.dictionary(fc.constantFrom('tokens', 'requests'), fc.bigInt({ min: 0n, max: 9n })));
const asks = fc.record({ group: text, key: text, ttl: duration, urgency, costs, lease: duration, holder: text, requestId: text });
const fence = fc.option(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { nil: undefined });
const answers = fc.record({ permit: text, fence, fenceFloor: fence, lease: duration, waited: duration });

/** Without members that are there and undefined, which `create` takes for absent ones. */
function filled<T extends object>(members: T): T {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as T;
}

/** Text from members that are taken and members that are not, in forms that are and forms that are not. */
const values = fc.oneof(
  text,
  fc.constantFrom('1s', '0s', '1.5s', '0.000001s', '-1s', '01s', '1.1234567890s', '9999999999999s', '1', 's'),
  fc.constantFrom(null, 1, true, [], {}),
);
const members = fc.dictionary(
  fc.constantFrom('group', 'key', 'holder', 'requestId', 'request_id', 'ttl', 'lease', 'priority', 'costs', 'more', '__proto__'),
  values,
);

/** What the generic codec makes of text; undefined: it throws. */
function genericText(json: string): unknown {
  try {
    return fromJsonString(AcquireRequestSchema, json);
  } catch {
    return undefined;
  }
}

/** What the generic codec makes of an answer; undefined: it throws. */
function genericAnswer(message: Parameters<typeof acquiredJson>[0]): string | undefined {
  try {
    return toJsonString(AcquireResponseSchema, message);
  } catch {
    return undefined;
  }
}

/** What the generic codec makes of bytes; undefined: it throws. */
function generic(bytes: Uint8Array): unknown {
  try {
    return fromBinary(AcquireRequestSchema, bytes);
  } catch {
    return undefined;
  }
}

function sameOrNothing(bytes: Uint8Array): void {
  const read = decodeAcquire(bytes);
  if (read !== undefined) expect(read).toEqual(generic(bytes));
}

describe('the codec of acquire', () => {
  test('reads an ask as the generic one does, or leaves it to that', () => {
    fc.assert(
      fc.property(asks, (ask) =>
        sameOrNothing(toBinary(AcquireRequestSchema, create(AcquireRequestSchema, filled(ask) as MessageInitShape<typeof AcquireRequestSchema>))),
      ),
      { numRuns: 2_000 },
    );
  });

  test('reads any bytes as the generic one does, or leaves them to that', () => {
    const pieces = fc.oneof(
      fc.uint8Array({ maxLength: 12 }),
      fc
        .constantFrom(
          '0a0161',
          '120161',
          '1a020801',
          '1a03080110',
          '2005',
          '2a0161',
          '3a0410808001',
          '0a8100',
          '1a0408011001',
          '2080',
          '4a0161',
          '20ffffffff0f',
        )
        .map((hex) => Buffer.from(hex, 'hex')),
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 5 }), (parts) => sameOrNothing(Buffer.concat(parts))),
      { numRuns: 5_000 },
    );
  });

  test('reads the usual asks itself', () => {
    const ask = { group: 'llm', key: 'acme', ttl: { seconds: 30n, nanos: 500_000_000 }, urgency: { case: 'priority', value: 3 }, requestId: 'r1' } as const;
    const message = create(AcquireRequestSchema, ask);
    expect(decodeAcquire(toBinary(AcquireRequestSchema, message))).toEqual(message);
  });

  test('writes an answer as the generic one does, or leaves it to that', () => {
    fc.assert(
      fc.property(answers, (answer) => {
        const message = create(AcquireResponseSchema, filled(answer) as MessageInitShape<typeof AcquireResponseSchema>);
        const written = encodeAcquired(message);
        if (written !== undefined) expect(Buffer.compare(written, toBinary(AcquireResponseSchema, message))).toBe(0);
      }),
      { numRuns: 2_000 },
    );
  });

  test('writes the usual answers itself', () => {
    const usual = create(AcquireResponseSchema, { permit: 'g~1', fence: 5n, fenceFloor: 2n ** 40n, lease: { seconds: 30n }, waited: {} });
    expect(encodeAcquired(usual)?.toString('hex')).toBe(Buffer.from(toBinary(AcquireResponseSchema, usual)).toString('hex'));
  });

  test('reads JSON as the generic one does, or leaves it to that', () => {
    const check = (json: string): void => {
      const read = acquireFromJson(json);
      if (read !== undefined) expect(read).toEqual(genericText(json));
    };
    fc.assert(
      fc.property(members, (ask) => check(JSON.stringify(ask))),
      { numRuns: 3_000 },
    );
    for (const json of ['', '[]', 'null', '"x"', '{"group":"a","group":"b"}', '{', '{"group":"\\ud800"}']) check(json);
    expect(acquireFromJson('{"group":"llm","key":"acme","ttl":"1.5s"}')).toEqual(genericText('{"group":"llm","key":"acme","ttl":"1.5s"}'));
    expect(acquireFromJson('{"group":"llm"}')).toBeDefined();
  });

  test('writes JSON as the generic one does, or leaves it to that', () => {
    fc.assert(
      fc.property(answers, (answer) => {
        const message = create(AcquireResponseSchema, filled(answer) as MessageInitShape<typeof AcquireResponseSchema>);
        const written = acquiredJson(message);
        if (written !== undefined) expect(written).toBe(genericAnswer(message));
      }),
      { numRuns: 3_000 },
    );
    expect(acquiredJson(create(AcquireResponseSchema, { permit: 'g~1', waited: { nanos: 1_000 } }))).toBe('{"permit":"g~1","waited":"0.000001s"}');
  });
});
