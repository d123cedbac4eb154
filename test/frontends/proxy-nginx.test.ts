import { describe, it } from 'vitest';
import { Nginx, NO_NGINX, nginxProgram } from '../fakes/nginx.ts';
import { lunarSuite } from './proxy-lunar.suite.ts';

if (nginxProgram === undefined) {
  describe('before nginx', () => {
    it.skip(`is not run: ${NO_NGINX}`, () => undefined);
  });
} else {
  describe('before nginx, with a slow server behind it', () => lunarSuite((recorder) => Nginx.start(recorder.url)));
}
