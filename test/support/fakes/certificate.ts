import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const path = (name: string): string => fileURLToPath(new URL(`./tls/${name}`, import.meta.url));

/**
 * A self-signed certificate for localhost and shop.internal, valid for a century, and its key: for tests
 * only, and worth nothing. Kept as files because a machine with only Node can make none.
 */
export const certificate = {
  certFile: path('cert.pem'),
  keyFile: path('key.pem'),
  cert: readFileSync(path('cert.pem'), 'utf8'),
  key: readFileSync(path('key.pem'), 'utf8'),
} as const;
