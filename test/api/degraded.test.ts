import { toJsonString } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import type { Outcome } from '../../src/admission/admission.ts';
import { encodeAcquired } from '../../src/api/codec/acquire-binary.ts';
import { acquiredJson } from '../../src/api/codec/acquire-json.ts';
import { acquireResponse } from '../../src/api/proto-messages.ts';
import { permitJson, sendPermit } from '../../src/api/rest/response.ts';
import { ONE_REQUEST } from '../../src/core/group.ts';
import { type Instant, SECOND } from '../../src/core/time.ts';
import { AcquireResponseSchema } from '../../src/gen/sluice/v1/admission_pb.ts';
import type { EngineReply } from '../../src/http/engine.ts';

const at = SECOND as Instant;
const permit = {
  ...{ group: 'g', key: '', serial: 1, tag: { high: 0, low: 0 }, costs: ONE_REQUEST, grantedAt: at, waited: 0, order: 1 },
  ...{ lease: undefined, settleable: false, shadow: undefined },
};
const given = (degraded: 'share' | 'open' | undefined): Outcome & { kind: 'admitted' } => ({ kind: 'admitted', id: 'g~1', permit, degraded });

test('A permit given outside the promises says so in every protocol, and no other does', () => {
  for (const degraded of ['share', 'open', undefined] as const) {
    const outcome = given(degraded);
    const message = acquireResponse(outcome);
    const generic = JSON.parse(toJsonString(AcquireResponseSchema, message)) as object;
    expect(JSON.parse(permitJson(outcome))).toEqual(generic);
    expect((generic as { degraded?: string }).degraded).toBe(degraded && `DEGRADED_${degraded.toUpperCase()}`);
    // The quick codecs leave it to the whole ones.
    expect([acquiredJson(message) === undefined, encodeAcquired(message) === undefined]).toEqual(Array(2).fill(degraded !== undefined));
    const sent: (readonly [string, string])[] = [];
    const reply = { send: (_status: number, headers: readonly (readonly [string, string])[]) => sent.push(...headers) > 0 } as unknown as EngineReply;
    sendPermit(reply, { admission: { now: () => at, limitsFor: () => [] } } as never, outcome);
    expect(sent.filter(([name]) => name === 'Sluice-Degraded')).toEqual(degraded === undefined ? [] : [['Sluice-Degraded', degraded]]);
  }
});
