import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, credentials } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readTls } from '../../../src/io/otlp/tls-files.ts';
import { call } from './exporting.ts';
import { exportPath, grpc, host, http, protobuf } from './opened-receivers.ts';

describe('TLS', () => {
  let folder: string;
  let ca: Buffer;
  const files = (): { cert: string; key: string } => ({ cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') });
  const certificate = (name: string): void => {
    execFileSync(
      'openssl',
      `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout ${name}key.pem -out ${name}cert.pem`.split(
        ' ',
      ),
      { cwd: folder, stdio: 'ignore' },
    );
  };
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'homeostat-tls-'));
    certificate('');
    certificate('other-');
    ca = readFileSync(files().cert);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test('over HTTP', async () => {
    await http({ tls: readTls(files()) }, async ({ port, seen, refused }) => {
      const status = await new Promise((resolve, reject) => {
        const request = httpsRequest(
          { host, port, path: '/v1/traces', method: 'POST', ca, agent: false, headers: protobuf },
          (response) => {
            response.resume();
            resolve(response.statusCode);
          },
        );
        request.on('error', reject);
        request.end(Buffer.alloc(0));
      });
      expect(status).toBe(200);
      expect(seen).toHaveLength(1);
      const plain = connect(port, host);
      plain.on('error', () => undefined);
      plain.write('POST /v1/traces HTTP/1.1\r\n\r\n');
      await once(plain, 'close');
      expect(refused).toEqual(['protocol']);
    });
  });

  test('over gRPC', async () => {
    await grpc({ tls: readTls(files()) }, async ({ port, seen }) => {
      const client = new Client(`localhost:${port}`, credentials.createSsl(ca));
      expect((await call(client, exportPath, Buffer.alloc(0))).error).toBeNull();
      client.close();
      expect(seen).toHaveLength(1);
    });
  });

  test.each([
    ['a certificate that is not there', () => ({ ...files(), cert: join(folder, 'gone.pem') }), /certificate .*gone\.pem cannot be read/],
    ['a key of another certificate', () => ({ ...files(), key: join(folder, 'other-key.pem') }), /other-key\.pem is not the key of/],
    ['a key in place of the certificate', () => ({ ...files(), cert: files().key }), /holds no certificate/],
    ['a certificate in place of the key', () => ({ ...files(), key: files().cert }), /holds no private key/],
  ])('%s is said in one sentence', (_, wrong, says) => {
    expect(() => readTls(wrong())).toThrow(says);
  });
});
