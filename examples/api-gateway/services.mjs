// The services behind sluice.yaml: `auth`, two instances of `users`, a slow `reports`, and a client that is called back.
// `node services.mjs` takes ports 8091 to 8095; `node services.mjs 18091` five ports from there on.
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

const first = Number(process.argv[2] ?? 8091);
const tokens = new Map();

/** Serves `answer(request, body)`, an object, on a port of loopback. */
function service(port, answer) {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    const { status = 200, ...value } = await answer(request, body);
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(`${JSON.stringify(value)}\n`);
  });
  return new Promise((resolve) => void server.listen(port, '127.0.0.1', resolve));
}

const users = (instance) => (request, body) => {
  const { pathname, searchParams } = new URL(request.url, 'http://users');
  const [, version, id] = /^\/api_gateway\/(v\d+)\/users\/(\w+)$/.exec(pathname) ?? [];
  return { instance, version, id, method: request.method, token: searchParams.get('token'), body };
};

const auth = (_request, body) => {
  const { email } = JSON.parse(body);
  const token = randomBytes(8).toString('hex');
  tokens.set(token, email);
  return { token };
};

const reports = async (_request, body) => {
  await new Promise((resolve) => void setTimeout(resolve, 500));
  return { status: 201, report: body, attempt: Number(_request.headers['sluice-attempt']) };
};

const client = (request, body) => {
  const { type, data } = JSON.parse(body);
  const said = Buffer.from(data.response?.body ?? '', 'base64')
    .toString()
    .trim();
  console.log(`called back: ${request.method} ${request.url} ${type} ${data.response?.status} ${said}`);
  return {};
};

await Promise.all([
  service(first, users('users-1')),
  service(first + 1, users('users-2')),
  service(first + 2, reports),
  service(first + 3, auth),
  service(first + 4, client),
]);
console.log('services take requests');
