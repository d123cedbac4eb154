import { create, toBinary } from '@bufbuild/protobuf';
import type { Refusal } from '../core/refusal.ts';
import type { Instant } from '../core/time.ts';
import { ErrorInfoSchema, QuotaFailureSchema, RetryInfoSchema } from '../gen/google/rpc/error_details_pb.ts';
import { StatusSchema } from '../gen/google/rpc/status_pb.ts';
import { toProto, toText } from './duration.ts';
import { CODES, describe, REFUSAL_STATUS, retryAfter } from './refusal-status.ts';

/** Who names the reasons in ErrorInfo. */
export const ERROR_DOMAIN = 'sluice.dev';

/** One detail of an error: the name of a message and its bytes. */
export interface ErrorDetail {
  readonly type: string;
  readonly value: Uint8Array;
}

/** ErrorInfo always, RetryInfo where a retry makes sense, QuotaFailure where a limit refused (google/rpc/error_details.proto). */
export function errorDetails(refusal: Refusal, now: Instant): readonly ErrorDetail[] {
  const { limit, range } = refusal;
  const metadata: Record<string, string> = {
    ...(limit !== undefined && { limit }),
    ...(range && { earliest: toText(Math.max(0, range.earliest - now)), latest: toText(Math.max(0, range.latest - now)) }),
  };
  const info = create(ErrorInfoSchema, { reason: REFUSAL_STATUS[refusal.reason].reason, domain: ERROR_DOMAIN, metadata });
  const details: ErrorDetail[] = [{ type: ErrorInfoSchema.typeName, value: toBinary(ErrorInfoSchema, info) }];
  const wait = retryAfter(refusal, now);
  if (wait !== undefined) {
    details.push({ type: RetryInfoSchema.typeName, value: toBinary(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: toProto(wait) })) });
  }
  if (limit !== undefined) {
    const failure = create(QuotaFailureSchema, { violations: [{ subject: `limit:${limit}`, description: describe(refusal), quotaId: limit }] });
    details.push({ type: QuotaFailureSchema.typeName, value: toBinary(QuotaFailureSchema, failure) });
  }
  return details;
}

/** The google.rpc.Status of `grpc-status-details-bin`, encoded. */
export function statusDetails(refusal: Refusal, now: Instant): Uint8Array {
  const details = errorDetails(refusal, now).map(({ type, value }) => ({ typeUrl: `type.googleapis.com/${type}`, value }));
  return toBinary(StatusSchema, create(StatusSchema, { code: CODES[REFUSAL_STATUS[refusal.reason].code], message: describe(refusal), details }));
}
