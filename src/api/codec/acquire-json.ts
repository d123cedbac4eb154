import type { Duration } from '@bufbuild/protobuf/wkt';
import type { AcquireRequest, AcquireResponse } from '../../gen/sluice/v1/admission_pb.ts';
import { emptyAcquire } from './acquire-binary.ts';

/* As acquire-codec.ts, in JSON: the usual acquire and its permit by hand, all else by protobuf-es. */

const DURATION = /^(0|[1-9]\d{0,8})(?:\.(\d{1,9}))?s$/;

/** Reads an acquire from its text, as `fromJsonString` reads it; undefined: let that read it. */
export function acquireFromJson(text: string): AcquireRequest | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return undefined;
  const request = emptyAcquire();
  const members = Object.entries(json);
  // Two members of one name are refused, and JSON.parse hides the first: without escapes each member has four quotes.
  if (text.includes('\\') || text.split('"').length - 1 !== 4 * members.length) return undefined;
  for (const [name, value] of members) if (typeof value !== 'string' || !take(request, name, value)) return undefined;
  return request;
}

function take(request: AcquireRequest, name: string, value: string): boolean {
  switch (name) {
    case 'group':
    case 'key':
    case 'holder':
    case 'requestId':
      request[name] = value;
      return true;
    case 'ttl':
    case 'lease': {
      const [, seconds, part = ''] = DURATION.exec(value) ?? [];
      if (seconds === undefined) return false;
      request[name] = { $typeName: 'google.protobuf.Duration', seconds: BigInt(seconds), nanos: Number(part.padEnd(9, '0')) };
      return true;
    }
    default:
      return false;
  }
}

/** A permit's text, as `toJsonString` writes it; undefined: let that write it. */
export function acquiredJson(response: AcquireResponse): string | undefined {
  const { permit, fence, fenceFloor, lease, waited } = response;
  if (response.shadow !== undefined || response.degraded !== undefined || permit === '') return undefined;
  let json = `{"permit":${JSON.stringify(permit)}`;
  if (fence !== undefined) json += `,"fence":"${fence}"`;
  if (fenceFloor !== undefined) json += `,"fenceFloor":"${fenceFloor}"`;
  if (lease !== undefined) {
    if (!plain(lease)) return undefined;
    json += `,"lease":"${durationText(lease)}"`;
  }
  if (waited !== undefined) {
    if (!plain(waited)) return undefined;
    json += `,"waited":"${durationText(waited)}"`;
  }
  return `${json}}`;
}

/** Neither negative nor out of bounds, which the generic codec refuses. */
function plain({ seconds, nanos }: Duration): boolean {
  return seconds >= 0n && seconds < 1_000_000_000n && nanos >= 0 && nanos < 1_000_000_000;
}

/** With 0, 3, 6 or 9 decimals. */
function durationText({ seconds, nanos }: Duration): string {
  if (nanos === 0) return `${seconds}s`;
  const digits = String(nanos).padStart(9, '0');
  const kept = nanos % 1_000_000 === 0 ? 3 : nanos % 1_000 === 0 ? 6 : 9;
  return `${seconds}.${digits.slice(0, kept)}s`;
}
