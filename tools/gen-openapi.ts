import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { CLIENT_PAGE, clientPage } from './client-api.ts';
import { commentsFile } from './proto-comments.ts';
import { PROTO_PAGE, protoPage } from './proto-docs.ts';

// Writes the comments of the protocol and its page, the page of the client, then the description of the plain HTTP API. test/api/openapi.test.ts, test/tools/proto-docs.test.ts and
// test/tools/client-api.test.ts check that it was run.
const image = execFileSync('buf', ['build', '-o', '-#format=json'], { encoding: 'utf8', maxBuffer: 64 << 20 });
writeFileSync('src/api/openapi/comments.ts', commentsFile(image));
writeFileSync(PROTO_PAGE, protoPage(image));
writeFileSync(CLIENT_PAGE, clientPage('.'));
const { openApiDocument } = await import('../src/api/openapi/document.ts');
const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { readonly version: string };
writeFileSync('docs/openapi.json', `${JSON.stringify(openApiDocument(version), undefined, 2)}\n`);
