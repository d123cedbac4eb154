import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createSigner, webhookKey } from '../../src/deferred/standard-webhooks.ts';
import { beginVerification, type VerificationRule } from '../../src/deferred/verification.ts';

const NOW = 1_614_265_330;
const BODY = Buffer.from([0xff, 0x00, 0x7b, 0x22, 0xc3, 0x28, 0x0a]);
const [KEY, OTHER] = [Buffer.from('hush-1'), Buffer.from('hush-2')];

/** What becomes of a request: `passes`, `fails`, or why it is refused whatever its body. */
function judged(rule: VerificationRule, headers: readonly string[], body: Uint8Array = BODY, nowMs = NOW * 1000): string {
  const begun = beginVerification(rule, headers, nowMs);
  if (typeof begun === 'string') return begun;
  // In pieces, as it comes.
  for (let at = 0; at < body.byteLength; at += 3) begun.update(body.subarray(at, at + 3));
  return begun.passes() ? 'passes' : 'fails';
}

function rule(sender: VerificationRule['sender'], more: Partial<VerificationRule> = {}): VerificationRule {
  return { sender, keys: [KEY], toleranceMs: 300_000, hmac: undefined, ...more };
}

const mac = (key: Uint8Array, text: string | Uint8Array, before = '', algorithm = 'sha256') => createHmac(algorithm, key).update(before).update(text);

describe('a signature of', () => {
  test('Shopify is taken over the raw bytes of the body, and by either of two secrets', () => {
    const signed = ['X-Shopify-Hmac-Sha256', mac(KEY, BODY).digest('base64')];
    expect(judged(rule('shopify'), signed)).toBe('passes');
    expect(judged(rule('shopify', { keys: [OTHER, KEY] }), signed)).toBe('passes');
    expect(judged(rule('shopify', { keys: [OTHER] }), signed)).toBe('fails');
    expect(judged(rule('shopify'), signed, Buffer.from(BODY).fill(0x20, 6))).toBe('fails');
  });

  test('GitHub is taken as it writes it, with its own example', () => {
    // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    const github = rule('github', { keys: [Buffer.from("It's a Secret to Everybody")] });
    const signed = ['X-Hub-Signature-256', 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17'];
    expect(judged(github, signed, Buffer.from('Hello, World!'))).toBe('passes');
    expect(judged(github, ['X-Hub-Signature-256', (signed[1] as string).replace('sha256=', '')], Buffer.from('Hello, World!'))).toBe(
      'The request carries no signature.',
    );
  });

  test('Stripe is taken with any of its signatures, within the replay window only', () => {
    const by = (key: Uint8Array, at = NOW) => mac(key, BODY, `${at}.`).digest('hex');
    const header = (...parts: string[]) => ['Stripe-Signature', parts.join(',')];
    expect(judged(rule('stripe'), header(`t=${NOW}`, `v1=${by(OTHER)}`, `v1=${by(KEY)}`, 'v0=00'))).toBe('passes');
    expect(judged(rule('stripe'), header(`t=${NOW}`, `v0=${by(KEY)}`))).toBe('The request carries no signature.');
    expect(judged(rule('stripe'), header(`v1=${by(KEY)}`))).toBe('The request carries no time of its signature.');
    for (const [past, becomes] of [
      [300, 'passes'],
      [301, 'The signature is too old, or of a time to come.'],
      [-300, 'passes'],
      [-301, 'The signature is too old, or of a time to come.'],
    ] as const)
      expect(judged(rule('stripe'), header(`t=${NOW - past}`, `v1=${by(KEY, NOW - past)}`))).toBe(becomes);
    // The time is what is signed, not what is said.
    expect(judged(rule('stripe'), header(`t=${NOW}`, `v1=${by(KEY, NOW - 9_999)}`))).toBe('fails');
  });

  test('Standard Webhooks is taken with the vector of its library, under its names and those of Svix', () => {
    const key = webhookKey('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw') as Uint8Array;
    const body = Buffer.from('{"test": 2432232314}');
    const fields = (prefix: string, signature: string) => [
      `${prefix}-id`,
      'msg_p5jXN8AQM9LWM0D4loKWxJek',
      `${prefix}-timestamp`,
      String(NOW),
      `${prefix}-signature`,
      signature,
    ];
    for (const prefix of ['webhook', 'svix'])
      expect(judged(rule('standardWebhooks', { keys: [key] }), fields(prefix, 'v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1a,x'), body)).toBe(
        'passes',
      );
    expect(judged(rule('standardWebhooks', { keys: [key] }), fields('webhook', 'v1,AAAA'), body)).toBe('fails');
    expect(judged(rule('standardWebhooks', { keys: [key] }), fields('webhook', 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=').slice(2), body)).toBe(
      'The request carries no webhook-id.',
    );
  });

  test('any other sender is taken as the rule says: Slack', () => {
    // https://api.slack.com/authentication/verifying-requests-from-slack
    const hmac = {
      header: 'x-slack-signature',
      prefix: 'v0=',
      algorithm: 'sha256',
      encoding: 'hex',
      timestamp: 'x-slack-request-timestamp',
      before: 'v0:{timestamp}:',
    } as const;
    const slack = rule('hmac', { hmac, keys: [Buffer.from('8f742231b10e8888abcd99yyyzzz85a5')] });
    const body = Buffer.from(
      'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c',
    );
    const signed = [
      ...['X-Slack-Signature', 'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503'],
      ...['X-Slack-Request-Timestamp', '1531420618'],
    ];
    expect(judged(slack, signed, body, 1_531_420_618_000)).toBe('passes');
    expect(judged(slack, signed, body, 1_531_420_618_000 + 300_001)).toBe('The signature is too old, or of a time to come.');
  });

  test('any other sender without a time, by SHA-512 or SHA-1, in hexadecimal or base64', () => {
    for (const algorithm of ['sha512', 'sha1'] as const) {
      for (const encoding of ['hex', 'base64'] as const) {
        const hmac = { header: 'x-sig', prefix: '', algorithm, encoding, timestamp: undefined, before: '' } as const;
        expect(judged(rule('hmac', { hmac }), ['X-Sig', mac(KEY, BODY, '', algorithm).digest(encoding)])).toBe('passes');
        expect(judged(rule('hmac', { hmac, keys: [OTHER] }), ['X-Sig', mac(KEY, BODY, '', algorithm).digest(encoding)])).toBe('fails');
      }
    }
  });
});

test('a signature that is missing, empty, doubled, cut, too long or no signature passes nothing', () => {
  const good = mac(KEY, BODY).digest('base64');
  for (const headers of [
    [],
    ['X-Shopify-Hmac-Sha256', ''],
    ['X-Shopify-Hmac-Sha256', good, 'x-shopify-hmac-sha256', good],
    ['X-Shopify-Hmac-Sha256', 'x'.repeat(5_000)],
  ])
    expect(judged(rule('shopify'), headers)).toBe('The request carries no signature.');
  for (const wrong of [good.slice(0, -4), `${good}AAAA`, good.toUpperCase(), '=', '\u0000', good.replaceAll('=', '-')])
    expect(judged(rule('shopify'), ['X-Shopify-Hmac-Sha256', wrong])).toBe('fails');
});

test('of many signatures only the first sixteen are looked at', () => {
  const good = `v1=${mac(KEY, BODY, `${NOW}.`).digest('hex')}`;
  const header = (before: number) => ['Stripe-Signature', [`t=${NOW}`, ...Array.from({ length: before }, () => 'v1=00'), good].join(',')];
  expect(judged(rule('stripe'), header(15))).toBe('passes');
  expect(judged(rule('stripe'), header(16))).toBe('fails');
});

describe('signing', () => {
  const key = webhookKey('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw') as Uint8Array;

  test('makes what the library of Standard Webhooks makes', () => {
    const fields = createSigner([key])({ id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', nowMs: NOW * 1000 + 999, body: Buffer.from('{"test": 2432232314}') });
    expect(fields).toEqual([
      'webhook-id',
      'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp',
      String(NOW),
      'webhook-signature',
      'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    ]);
  });

  test('with two secrets carries a signature for each, of the bytes as they are', () => {
    const second = Buffer.alloc(32, 9);
    const fields = createSigner([key, second])({ id: 'a', nowMs: NOW * 1000, body: BODY });
    for (const one of [key, second]) expect(judged(rule('standardWebhooks', { keys: [one] }), fields)).toBe('passes');
    expect((fields.at(-1) as string).split(' ').length).toBe(2);
  });

  test('takes secrets of 24 to 64 bytes, with whsec_ before them or not, and nothing else', () => {
    const of = (bytes: number) => Buffer.alloc(bytes, 7).toString('base64');
    expect([23, 24, 64, 65].map((bytes) => webhookKey(`whsec_${of(bytes)}`)?.byteLength)).toEqual([undefined, 24, 64, undefined]);
    expect(webhookKey(of(24))?.byteLength).toBe(24);
    expect(webhookKey(`whsec_${of(5)}`, true)?.byteLength).toBe(5);
    for (const wrong of ['', 'whsec_', 'whsec_hush hush', 'whsec_a===', '\u0000']) expect(webhookKey(wrong, true)).toBeUndefined();
  });
});
