import type { Duration } from '@bufbuild/protobuf/wkt';
import { DAY, HOUR, MILLISECOND, MINUTE, type Micros, SECOND } from '../core/time.ts';

/** Stands for a duration that a caller sent and that cannot be parsed; `validation.ts` refuses it. */
export const INVALID_DURATION: Micros = Number.NaN;

/** google.protobuf.Duration as microseconds, rounded up; {@link INVALID_DURATION} where seconds and nanos disagree or overflow. */
export function fromProto(duration: Duration | undefined): Micros | undefined {
  if (duration === undefined) return undefined;
  const { nanos } = duration;
  const seconds = Number(duration.seconds);
  if (Math.abs(nanos) > 999_999_999 || (seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0)) return INVALID_DURATION;
  const micros = seconds * SECOND + Math.ceil(nanos / 1000);
  return Number.isSafeInteger(micros) ? micros : INVALID_DURATION;
}

/** Microseconds (not negative, finite) as the members of a google.protobuf.Duration. */
export function toProto(micros: Micros): { $typeName: 'google.protobuf.Duration'; seconds: bigint; nanos: number } {
  const seconds = Math.floor(micros / SECOND);
  return { $typeName: 'google.protobuf.Duration', seconds: BigInt(seconds), nanos: (micros - seconds * SECOND) * 1000 };
}

const UNITS: Readonly<Record<string, Micros>> = { d: DAY, h: HOUR, m: MINUTE, s: SECOND, ms: MILLISECOND, us: 1 };

/** `30s`, `1m30s`, `250ms`, `1.5h`, `0` as microseconds, rounded up, a leading `-` kept (refused later as negative); {@link INVALID_DURATION}: no duration. */
export function fromText(text: string): Micros {
  const [, sign, body = ''] = /^(-?)(0|(?:\d{1,15}(?:\.\d{1,9})?(?:d|h|ms|us|m|s))+)$/.exec(text.slice(0, 65)) ?? [];
  if (sign === undefined) return INVALID_DURATION;
  let micros = 0;
  for (const [, number, unit] of body.matchAll(/(\d+(?:\.\d+)?)(d|h|ms|us|m|s)/gy)) {
    micros += Math.ceil(Number(number) * (UNITS[unit ?? ''] ?? Number.NaN) - 1e-6);
  }
  if (!Number.isSafeInteger(micros)) return INVALID_DURATION;
  return sign === '-' ? -micros : micros;
}

/** Microseconds as seconds with as many decimals as needed: `30s`, `1.84s`, `0s`: what proto3 JSON writes, too. */
export function toText(micros: Micros): string {
  return `${micros / SECOND}s`;
}
